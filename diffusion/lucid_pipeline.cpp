#include "diffusion/lucid_pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "nn/checkpoint.h"
#include "nn/lucid_unet.h"
#include "tensor/io/safetensors.h"

namespace sfumato::diffusion {
namespace {

constexpr double kRounding = 1e-5;  // of tables in float32, relative
constexpr double kMinSnr = 5;       // the package may cut its weights there

// What stands beside the network: "model." + "init_conv.weight" is of the object that has "betas".
std::optional<std::vector<double>> table(const io::SafeTensors& file, const std::string& prefix,
                                         const char* name) {
  constexpr std::string_view kModel = "model.";
  if (!prefix.ends_with(kModel)) return {};
  const std::string full = prefix.substr(0, prefix.size() - kModel.size()) + name;
  if (!file.contains(full)) return {};
  const Tensor values = file.tensor(full).to(DType::f64);
  return std::vector<double>(values.data<double>(), values.data<double>() + values.size());
}

bool are_near(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](double x, double y) {
           return std::abs(x - y) <= kRounding * std::abs(y) + 1e-9;
         });
}

SchedulerConfig scheduler_of(const BetaSchedule& schedule, std::int64_t timesteps) {
  return default_scheduler(Prediction::v, schedule, timesteps);
}

// The schedule of these betas: a row, or else the betas themselves.
SchedulerConfig scheduler_of(const std::vector<double>& betas) {
  for (const BetaSchedule* row : BetaSchedule::all) {
    SchedulerConfig config = scheduler_of(*row, std::ssize(betas));
    if (row->betas &&
        are_near(betas, row->betas(std::ssize(betas), config.beta_start, config.beta_end)))
      return config;
  }
  SchedulerConfig config = scheduler_of(BetaSchedule::linear, std::ssize(betas));
  config.trained_betas = betas;
  return config;
}

// What the package's weights of the loss are for: ᾱ for v, the SNR for x_0, 1 for ε, each of them cut where the SNR is large.
std::optional<Prediction> prediction_of(const std::vector<double>& betas,
                                        const std::vector<double>& weights) {
  if (weights.size() != betas.size()) return {};
  const auto all = [&](auto weight) {
    double alpha_bar = 1;
    for (std::size_t t = 0; t < betas.size(); ++t) {
      alpha_bar *= 1 - betas[t];
      const double snr = alpha_bar / (1 - alpha_bar);
      if (snr < kMinSnr && std::abs(weights[t] - weight(snr)) > 1e-3 * weight(snr)) return false;
    }
    return true;
  };
  if (all([](double snr) { return snr / (1 + snr); })) return Prediction::v;
  if (all([](double snr) { return snr; })) return Prediction::x0;
  if (all([](double) { return 1.0; })) return Prediction::eps;
  return {};
}

// A choice, where what the file says does not contradict it; what the file says; or the default, with a note.
template <class T, class Name>
T chosen(const std::string& source, const char* flag, const std::optional<T>& said,
         const std::optional<T>& asked, const T& usual, const Name& name,
         std::vector<std::string>& notes) {
  if (said && asked && !(*said == *asked))
    throw Error(source, fmt::format("{} {}: the file says {}", flag, name(*asked), name(*said)));
  if (!said && !asked)
    notes.push_back(fmt::format("{}: does not tell the {}; taken as {}, the package's default",
                                source, std::string_view(flag).substr(2), name(usual)));
  return said ? *said : asked.value_or(usual);
}

SchedulerConfig read_scheduler(const io::SafeTensors& file, const std::string& prefix,
                               const LucidOptions& o, std::vector<std::string>& notes) {
  const std::string source = file.path().string();
  const auto row_name = [](const auto& row) { return row.name; };
  const auto betas = table(file, prefix, "betas"), weights = table(file, prefix, "loss_weight");
  std::optional<Prediction> told;
  SchedulerConfig config;
  if (betas) {
    config = scheduler_of(*betas);
    if (weights) told = prediction_of(*betas, *weights);
    if (o.timesteps && *o.timesteps != config.num_train_timesteps)
      throw Error(source, fmt::format("--timesteps {}: the file says {}", *o.timesteps,
                                      config.num_train_timesteps));
    if (o.schedule && !(config.trained_betas.empty() && *o.schedule == config.beta_schedule))
      throw Error(source, fmt::format("--schedule {}: the file says {}", o.schedule->name,
                                      config.trained_betas.empty() ? config.beta_schedule.name
                                                                   : "betas of its own"));
  } else {
    const auto number = [](std::int64_t n) { return n; };
    const std::int64_t T =
        chosen<std::int64_t>(source, "--timesteps", {}, o.timesteps, 1000, number, notes);
    config = scheduler_of(chosen<BetaSchedule>(source, "--schedule", {}, o.schedule,
                                               BetaSchedule::sigmoid_alpha, row_name, notes),
                          T);
  }
  config.prediction_type =
      chosen(source, "--prediction", told, o.prediction, Prediction::v, row_name, notes);
  config.clip_sample = true;  // as the package's p_sample and ddim_sample do
  return config;
}

}  // namespace

Pipeline load_lucid_pipeline(const std::filesystem::path& path, const LucidOptions& o) {
  const io::SafeTensors file(path);
  std::vector<std::string> notes;
  const std::string prefix = o.prefix ? *o.prefix : nn::find_lucid_prefix(file, notes);
  const nn::LucidUnetConfig network = nn::lucid_config_of(file, prefix, o.network);
  SchedulerConfig scheduler = read_scheduler(file, prefix, o, notes);
  if (network.learned_variance) scheduler.variance_type = Variance::learned_range;
  std::int64_t numbers = 0;
  for (const io::TensorEntry& entry : file.entries()) numbers += entry.shape.size();
  Pipeline p = [&] {
    try {
      return make_pipeline(
          [&](const nn::Scope& s) { return std::make_unique<nn::LucidUnet>(s, network); },
          scheduler, 0, 2 * numbers + (1 << 20));
    } catch (const Error& e) {
      throw Error(path.string(), e.what());
    }
  }();
  nn::load_parameters(*p.params, file, prefix);
  p.network->sample_size = o.size;
  p.notes.insert(p.notes.begin(), notes.begin(), notes.end());
  return p;
}

}  // namespace sfumato::diffusion
