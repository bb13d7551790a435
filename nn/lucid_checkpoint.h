// What a file of weights says about the U-Net of `denoising-diffusion-pytorch` that they are of: such files hold no
// configuration, but names and shapes tell nearly all of it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/lucid_unet_config.h"
#include "tensor/io/safetensors.h"

namespace sfumato::nn {

// What names and shapes may leave open.
struct LucidChoices {
  std::optional<LucidVersion> version = {};  // 1.0 and 1.7 have the same names
  std::int64_t heads = 4;                    // before version 1.9
  std::int64_t groups = 8;                   // before version 2.0
};

// What stands before the names of the network's parameters: "model." of a GaussianDiffusion. Where the file holds several
// networks, the moving average, with a line in `notes`. Throws Error for a file without one, and for several of which none
// is the only average.
std::string find_lucid_prefix(const io::SafeTensors& file, std::vector<std::string>& notes);

// Throws Error naming the file for a network that is another one than lucid_unet.h's, and for choices that its names
// contradict.
LucidUnetConfig lucid_config_of(const io::SafeTensors& file, const std::string& prefix,
                                const LucidChoices& choices = {});

}  // namespace sfumato::nn
