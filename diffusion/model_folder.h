// Where the parts of a model lie in a folder that diffusers or this library wrote, and what to say
// about a folder that holds something else.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sfumato::diffusion {

// The file of a network's weights, beside its config.json.
inline constexpr std::string_view kWeightsFile = "diffusion_pytorch_model.safetensors";

struct ModelFolder {
  std::filesystem::path config;     // the network's config.json
  std::filesystem::path scheduler;  // scheduler_config.json; empty when there is none
  std::string pipeline;             // the class in model_index.json; empty without one
  std::string decoder;              // the part that decodes latents ("vqvae"), if any
  std::vector<std::string> notes;   // choices made, one line each
};

// Throws Error that says what the folder holds instead, and what to type.
ModelFolder find_model(const std::filesystem::path& dir);

// The weights beside config.json: diffusion_pytorch_model.safetensors; else the parts that its
// index lists; else the only variant there is (fp16, bf16, ema, ...), with a line in `notes`.
// Throws Error that says what is there instead.
std::vector<std::filesystem::path> find_weights(const std::filesystem::path& folder,
                                                std::vector<std::string>& notes);

}  // namespace sfumato::diffusion
