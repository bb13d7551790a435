// A checkpoint of `denoising-diffusion-pytorch`, saved as safetensors, as a pipeline: the network (nn/lucid_unet.h) under its
// own tensor names, and the process of the package's GaussianDiffusion, as far as the file has its tables.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "diffusion/pipeline.h"
#include "nn/lucid_checkpoint.h"

namespace sfumato::diffusion {

// What the file may not say. Where neither it nor a choice says it, the package's default holds, with a note: 1000 timesteps,
// ᾱ a logistic function, prediction of v.
struct LucidOptions {
  std::optional<std::string> prefix = {};  // of the network's tensors
  nn::LucidChoices network = {};
  std::optional<std::int64_t> timesteps = {};
  std::optional<BetaSchedule> schedule = {};
  std::optional<Prediction> prediction = {};
  io::Extent size = {};  // of the pictures; 0 x 0: not known
};

// Throws Error naming the file for what it is not, or what this library cannot compute, and for an option that it contradicts.
Pipeline load_lucid_pipeline(const std::filesystem::path& file, const LucidOptions& options);

}  // namespace sfumato::diffusion
