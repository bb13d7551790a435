// A trained model on disk: a `diffusers` pipeline folder.
//
//   DIR/model_index.json                              what the parts are
//   DIR/PART/config.json                              the network; PART: "unet", or as its class says (nn/network.h)
//   DIR/PART/diffusion_pytorch_model.safetensors      its weights (of a run: their moving average)
//   DIR/scheduler/scheduler_config.json               the schedule and what the network predicts
//
// A folder that save_pretrained of the network's class wrote (config.json and the weights at its root) is read
// too, as are variants (fp16, ema, ...) and weights in several files. What this library cannot
// compute is refused by name.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "diffusion/schedule.h"
#include "diffusion/scheduler_config.h"
#include "diffusion/scheduler_file.h"
#include "nn/network.h"
#include "nn/unet_config.h"
#include "tensor/io/image.h"
#include "tensor/io/json.h"

namespace sfumato::diffusion {

// A network, whatever it is made of (nn/network.h), and what was learned with it. A const Pipeline can be used by
// several threads at once; const does not reach through the two pointers.
struct Pipeline {
  SchedulerConfig scheduler;
  // false: the folder tells no schedule that this library has; `scheduler` is then DDPM's default.
  bool scheduler_found = true;
  // Why the folder's network cannot draw pictures here (a scheduler without a schedule of betas, a
  // network of latents, ...); empty when it can. What needs no sampler works all the same.
  std::string sampling_problem;
  // The name of each row of the class table, "" for one that no picture taught; without the null
  // label where that is the last row. Empty when the folder names none.
  std::vector<std::string> class_names;
  // What was read past or assumed while loading, one line each, for the user.
  std::vector<std::string> notes;
  std::unique_ptr<nn::Params> params;
  std::unique_ptr<nn::Network> network;

  // What the network is told besides x_t and t. The null label is known when the folder says it.
  const nn::Conditioning& conditioning() const { return network->conditioning; }
  // Throws sampling_problem, if there is one.
  void expect_sampling() const;
};

// Why the network's variance cannot be what the scheduler says, learned_range; empty where it can.
std::string variance_problem(const nn::Network& network, const SchedulerConfig& scheduler);

// A new network with weights drawn from `seed`, of at most `limit` parameters.
Pipeline make_pipeline(const nn::BuildNetwork& network, const SchedulerConfig& scheduler,
                       std::uint64_t seed, std::int64_t limit = nn::Params::kMaxCount);
Pipeline make_pipeline(const nn::UNetConfig& unet, const SchedulerConfig& scheduler,
                       std::uint64_t seed, std::int64_t limit = nn::Params::kMaxCount);

// `sample_size` of a config.json: 0 x 0 when it is missing or null. Throws Error for other sizes than 1..65536.
io::Extent read_sample_size(const io::JsonObject& config);

// Weights with numbers that are not finite: refused; or noted, for a look at the damage.
enum class NotFinite { refuse, note };

// Throws Error naming the file, and there the key or the tensor.
Pipeline load_pipeline(const std::filesystem::path& dir, NotFinite rule = NotFinite::refuse);

// What the three JSON files say, by their names in the folder; and what the file of weights says beside them.
std::vector<std::pair<std::string, io::Json>> pipeline_config(const Pipeline& pipeline);
std::map<std::string, std::string> weights_metadata(const Pipeline& pipeline);

// The row of the network's class; null for a class that has none.
const nn::NetworkClass* network_class(const Pipeline& pipeline);
// The name of the network's part, and of its folder: "unet" for a class that has no row in nn/network.cpp.
std::string network_part(const Pipeline& pipeline);

// The three JSON files; made once, before the weights.
void save_pipeline_config(const std::filesystem::path& dir, const Pipeline& pipeline);
// The weights `flat` (laid out as params.flat_values()), replaced atomically.
void save_pipeline_weights(const std::filesystem::path& dir, const Pipeline& pipeline,
                           const Tensor& flat);

}  // namespace sfumato::diffusion
