// Parameters <-> safetensors, under PyTorch's names and layouts.
#pragma once
#include <filesystem>
#include <map>
#include <string>

#include "nn/params.h"
#include "tensor/io/safetensors.h"

namespace sfumato::nn {

// Fills every parameter from the file. Throws Error naming the file and the parameter when one is
// missing, has another shape, or when the file holds one that the network has not; nothing is
// changed then. Where the file holds a checksum (tensor/io/checksum.h), the numbers are checked
// against it. Attention's names of diffusers before 0.13 (query, key, value, proj_attn) are
// understood.
void load_parameters(Params& params, const io::SafeTensors& file);

// Writes `flat` (laid out as params.flat_values(): the values themselves, or their average), with a
// checksum among the metadata.
void save_parameters(Params& params, const Tensor& flat, const std::filesystem::path& path,
                     const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace sfumato::nn
