// A trained model on disk: a `diffusers` pipeline folder.
//
//   DIR/model_index.json                              what the parts are
//   DIR/unet/config.json                              the network
//   DIR/unet/diffusion_pytorch_model.safetensors      its weights (of a run: their moving average)
//   DIR/scheduler/scheduler_config.json               the schedule and what the network predicts
//
// A folder that UNet2DModel.save_pretrained wrote (config.json and the weights at its root) is read
// too, as are variants (fp16, ema, ...) and weights in several files. What this library cannot
// compute is refused by name.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/schedule.h"
#include "diffusion/scheduler_config.h"
#include "diffusion/scheduler_file.h"
#include "nn/unet.h"
#include "nn/unet_config.h"
#include "tensor/io/json.h"

namespace sfumato::diffusion {

struct Pipeline {
  nn::UNetConfig unet_config;
  SchedulerConfig scheduler;
  // false: the folder tells no schedule that this library has; `scheduler` is then DDPM's default.
  bool scheduler_found = true;
  // Why the folder's network cannot draw pictures here (a scheduler without a schedule of betas, a
  // network of latents, ...); empty when it can. What needs no sampler works all the same.
  std::string sampling_problem;
  // The row of the class table that stands for "no class", when the folder says so.
  std::optional<std::int64_t> null_label;
  // The name of each row of the class table, "" for one that no picture taught; without the null
  // label where that is the last row. Empty when the folder names none.
  std::vector<std::string> class_names;
  // What was read past or assumed while loading, one line each, for the user.
  std::vector<std::string> notes;
  std::unique_ptr<nn::Params> params;
  std::unique_ptr<nn::UNet> unet;

  // Labels that mean a class: rows of the table without the null label; 0 when unconditional.
  std::int64_t classes() const;
  // Throws sampling_problem, if there is one.
  void expect_sampling() const;
};

// A new network with weights drawn from `seed`, of at most `limit` parameters.
Pipeline make_pipeline(const nn::UNetConfig& unet, const SchedulerConfig& scheduler,
                       std::optional<std::int64_t> null_label, std::uint64_t seed,
                       std::int64_t limit = nn::Params::kMaxCount);

// Weights with numbers that are not finite: refused; or noted, for a look at the damage.
enum class NotFinite { refuse, note };

// Throws Error naming the file, and there the key or the tensor.
Pipeline load_pipeline(const std::filesystem::path& dir, NotFinite rule = NotFinite::refuse);

// The three JSON files; made once, before the weights.
void save_pipeline_config(const std::filesystem::path& dir, const Pipeline& pipeline);
// The weights `flat` (laid out as params.flat_values()), replaced atomically.
void save_pipeline_weights(const std::filesystem::path& dir, const Pipeline& pipeline,
                           const Tensor& flat);

}  // namespace sfumato::diffusion
