// What the command line can ask for: one struct a subcommand, filled by main.cpp. Those of `train` are in train_options.h.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "diffusion/data/dataset.h"
#include "diffusion/scheduler_config.h"
#include "tensor/io/json.h"

namespace sfumato::apps {

// Limits of the command line, of a record and of a checkpoint alike.
inline constexpr std::int64_t kMaxBatch = 65536, kMaxTimesteps = 100000;
inline constexpr double kMinutes = 5, kLabelDropout = 0.1;
inline constexpr std::int64_t kMaxSteps = std::int64_t{1} << 40;

struct TrainOptions;  // train_options.h

// The flag of an option: "lr_floor" -> "--lr-floor".
std::string flag_of(std::string_view key);

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
