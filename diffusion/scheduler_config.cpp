#include "diffusion/scheduler_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "diffusion/names.h"
#include "diffusion/scheduler_fields.h"

namespace sfumato::diffusion {
namespace {

constexpr EnumName<Variance> kVariances[] = {{Variance::fixed_small, "fixed_small"},
                                             {Variance::fixed_large, "fixed_large"},
                                             {Variance::learned_range, "learned_range"}};

}  // namespace

const Sampler& parse_sampler(std::string_view name) {
  if (const Sampler* row = find_row(Sampler::all, name)) return *row;
  throw Error("scheduler", fmt::format("{} is not supported; expected {}", io::in_quotes(name),
                                       names_in(Sampler::all)));
}

const std::string_view* Sampler::name_of(const Prediction& prediction) const {
  for (const PredictionName& row : predictions)
    if (*row.prediction == prediction) return &row.name;
  return nullptr;
}

const Prediction* Sampler::prediction_of(std::string_view name) const {
  for (const PredictionName& row : predictions)
    if (row.name == name) return row.prediction;
  return nullptr;
}

std::string_view name(Variance variance) { return name_of(kVariances, variance); }
Variance parse_variance(std::string_view name) {
  return parse_row("variance_type", kVariances, name).value;
}

std::string_view name(Spacing spacing) { return name_of(kSpacings, spacing); }
Spacing parse_spacing(std::string_view name) {
  return parse_row("timestep_spacing", kSpacings, name).value;
}

void validate(const SchedulerConfig& config) {
  const auto refuse = [](const std::string& what) { throw Error("scheduler_config", what); };
  visit_training_fields(io::CheckFields{"scheduler_config"}, config);
  visit_sampling_fields(io::CheckFields{"scheduler_config"}, config);
  const auto betas = std::ssize(config.trained_betas);
  if (betas != 0 && betas != config.num_train_timesteps)
    refuse(fmt::format("trained_betas has {} values, but num_train_timesteps = {}", betas,
                       config.num_train_timesteps));
  if (config.steps_offset >= config.num_train_timesteps)
    refuse(fmt::format("steps_offset = {} leads beyond num_train_timesteps = {}",
                       config.steps_offset, config.num_train_timesteps));
}

void scale_betas(SchedulerConfig& config) {
  const double scale = 1000 / static_cast<double>(config.num_train_timesteps);
  config.beta_start = std::min(config.beta_start * scale, 0.999);
  config.beta_end = std::min(config.beta_end * scale, 0.999);
}

SchedulerConfig default_scheduler(const Prediction& prediction, const BetaSchedule& schedule,
                                  std::int64_t timesteps) {
  SchedulerConfig config;
  config.num_train_timesteps = timesteps;
  config.beta_schedule = schedule;
  scale_betas(config);
  config.prediction_type = prediction;
  config.timestep_spacing = Spacing::trailing;
  config.clip_sample = prediction.clip_sample;
  for (const Sampler* row : Sampler::all)
    if (row->schedule && *row->schedule == schedule && row->name_of(prediction)) {
      config.sampler = *row;  // a class of diffusers for what is trained
      if (!row->sigma_spacings.empty())
        config.timestep_spacing = row->sigma_spacings.front().spacing;
      break;
    }
  return config;
}

std::string combination_problem(const SchedulerConfig& config) {
  const Schedule schedule = make_schedule(config);
  const Prediction& prediction = config.prediction_type;
  if (schedule.alpha_bar.back() > 0 || !prediction.needs_signal) return "";
  std::string expected;
  for (const Prediction* row : Prediction::all)
    if (!row->needs_signal) expected += (expected.empty() ? "" : ", ") + std::string(row->name);
  return fmt::format(
      "the schedule ends at zero terminal SNR, where a network that predicts {} says nothing of "
      "the "
      "picture: expected one that predicts {}",
      prediction.name, expected);
}

Schedule make_schedule(const SchedulerConfig& config) {
  validate(config);
  const Schedule s = config.trained_betas.empty()
                         ? Schedule::make(config.beta_schedule, config.num_train_timesteps,
                                          config.beta_start, config.beta_end)
                         : Schedule::from_betas(config.trained_betas);
  return (config.rescale_betas_zero_snr ? s.with_zero_terminal_snr() : s).shifted(config.shift);
}

}  // namespace sfumato::diffusion
