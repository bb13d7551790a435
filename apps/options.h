// What the command line can ask for: one struct a subcommand. main.cpp fills them, a run folder
// records those of `train`.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion/data/dataset.h"
#include "diffusion/scheduler_config.h"
#include "tensor/io/json.h"

namespace sfumato::apps {

// Limits of the command line, of a record and of a checkpoint alike.
inline constexpr std::int64_t kMaxBatch = 65536, kMaxTimesteps = 100000;
inline constexpr double kMinutes = 5, kLabelDropout = 0.1;
inline constexpr std::int64_t kMaxSteps = std::int64_t{1} << 40;

// What is recorded of these is listed in train_options.h.
struct TrainOptions {
  std::string out, resume;
  bool accept_data = false;     // --resume although the data have changed
  bool previous = false;        // --resume from the checkpoint before the newest
  std::set<std::string> given;  // keys of the options that the command line names

  std::string init;
  std::string data = "mnist";     // "mnist": the bundled one
  std::string model = "small";    // tiny, small, base, or a diffusers config.json
  std::optional<double> minutes;  // at most one of the three; none: kMinutes
  std::optional<std::int64_t> steps, epochs;
  std::optional<std::int64_t> stop_after;  // of this process; not recorded
  std::int64_t batch = 32;
  double lr = 2e-3;
  double lr_floor = 0.02;    // the cosine ends at this share of lr
  std::int64_t warmup = 50;  // steps
  double beta1 = 0.9, beta2 = 0.99;
  double weight_decay = 0;
  double clip = 1;  // of the gradient's norm
  double ema = 0.999;
  std::optional<double> label_dropout;  // none: kLabelDropout where the model has a row for it
  std::optional<double> dropout;        // of the network; none: as the model says
  // None: v, cosine and 1000, or what the folder of --init says.
  std::optional<diffusion::Prediction> prediction;
  std::optional<diffusion::BetaSchedule> schedule;
  std::optional<std::int64_t> timesteps;   // T
  std::optional<std::int64_t> null_label;  // none: as the model says
  std::uint64_t seed = 0;
  bool pad = false;
  std::optional<std::string> size, background;  // of the pictures: none: as stored
  bool recompute = false;                       // less memory, more time
  double sample_every = 60;                     // seconds between sample grids; 0: only at the end
  double checkpoint_every = 30;                 // seconds
};

// The flag of an option: "lr_floor" -> "--lr-floor".
std::string flag_of(std::string_view key);

// Throws Error for a text that is not UTF-8, which a record cannot hold.
io::Json to_json(const TrainOptions& options);
// With the ranges of the command line. What an older record does not say has its default; a key
// that this version does not know throws, as it could change the result.
TrainOptions parse_train_options(const io::JsonObject& json);

// `recorded` with the options that `asked` restates (`asked.given`), each named in `notes` with its
// old and new value. Throws Error for one that cannot be changed.
TrainOptions restate(const TrainOptions& recorded, const TrainOptions& asked,
                     std::vector<std::string>& notes);

struct SampleOptions {
  std::string model, out;
  std::optional<std::int64_t> count;
  std::string labels;  // "", "all", "7", "0,1,2", "cat,dog"
  std::string size;    // "", "32", "24,32"
  std::string clip;    // "", on, diffusers, off
  std::optional<std::int64_t> steps;
  std::optional<diffusion::Sampler> sampler;
  double eta = 0;
  std::optional<double> guidance;
  std::optional<std::int64_t> null_label;
  std::uint64_t seed = 0;
  std::int64_t batch = 64;
};

struct PredictOptions {
  std::string model, in, out;
  bool grad = false;
};

struct InfoOptions {
  std::string model;
  bool json = false;
};

struct EvaluateOptions {
  std::string model, data = "mnist", classifier;  // classifier "": kept in the user's cache
  std::string clip;                               // "", on, diffusers, off
  std::int64_t count = 1000, steps = 20;
  std::optional<double> guidance;  // none: 1, and 2 where the model was trained for it
  std::uint64_t seed = 0;
  bool json = false;
  std::optional<std::string> size, background;  // of the pictures, as for `train`
};

// How `train` and `evaluate` read the data. Throws Error for a size or background that is none.
data::LoadOptions load_options(const std::optional<std::string>& size,
                               const std::optional<std::string>& background);

// Each runs its subcommand; throws Error for what cannot be done.
void train(const TrainOptions& options);
void sample(const SampleOptions& options);
void predict(const PredictOptions& options);
void info(const InfoOptions& options);
void evaluate(const EvaluateOptions& options);

}  // namespace sfumato::apps
