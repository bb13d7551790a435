// Parameters <-> safetensors, under PyTorch's names and layouts.
#pragma once
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "nn/params.h"
#include "tensor/io/safetensors.h"

namespace sfumato::nn {

// Fills every parameter and every buffer from the files, which hold them together. Throws Error naming the file and
// the parameter when one is missing, has another shape, holds a number that is not finite, or when
// a file holds one that the network has not; nothing is changed then. With `not_finite`, numbers
// that are not finite are loaded too, and a line about them is added there. Where a file holds a
// checksum (tensor/io/checksum.h), its numbers are checked against it. Attention's names of
// diffusers before 0.13 (query, key, value, proj_attn) and blocks' names before 0.1 (mid, downsample_blocks,
// upsample_blocks) are understood.
void load_parameters(Params& params, std::span<const io::SafeTensors> files,
                     std::vector<std::string>* not_finite = nullptr);
void load_parameters(Params& params, const io::SafeTensors& file);
// The same of a file in which the parameters' names stand after `prefix`; what has another name is read past.
void load_parameters(Params& params, const io::SafeTensors& file, const std::string& prefix);

// Writes `flat` (laid out as params.flat_values(): the values themselves, or their average) and the buffers, with a
// checksum among the metadata.
void save_parameters(Params& params, const Tensor& flat, const std::filesystem::path& path,
                     const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace sfumato::nn
