#include "diffusion/spacing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tensor/error.h"

namespace sfumato::diffusion {
namespace {

void expect_steps(std::int64_t T, std::int64_t steps) {
  if (steps < 1 || steps > T)
    throw Error("timesteps", fmt::format("expected 1 to {} steps, got {}", T, steps));
}

// K levels from the schedule's last σ / a to its first.
std::vector<NoiseLevel> sigma_levels(const Schedule& schedule, const SchedulerConfig& config,
                                     std::int64_t steps) {
  validate(config);
  const double high = schedule.level(schedule.steps() - 1).sigma(), low = schedule.level(0).sigma();
  if (std::isinf(high))
    throw Error("sample",
                fmt::format("spacing {}: the schedule ends at zero SNR, where σ is infinite; "
                            "expected leading, trailing or linspace",
                            name(config.timestep_spacing)));
  expect_steps(schedule.steps(), steps);
  constexpr double kRho = 7;
  std::vector<NoiseLevel> levels;
  for (std::int64_t i = 0; i < steps; ++i) {
    const double w = steps == 1 ? 0 : static_cast<double>(i) / static_cast<double>(steps - 1);
    const double a = std::pow(high, 1 / kRho), b = std::pow(low, 1 / kRho);
    levels.push_back(schedule.path->at_sigma(config.timestep_spacing == Spacing::karras
                                                 ? std::pow(a + w * (b - a), kRho)
                                                 : high * std::pow(low / high, w)));
  }
  return levels;
}

}  // namespace

std::vector<std::int64_t> timesteps(const SchedulerConfig& config, std::int64_t steps) {
  validate(config);
  const std::int64_t T = config.num_train_timesteps;
  expect_steps(T, steps);
  // Halves round to even, as in NumPy; products and sums are in NumPy's order, since a half that is
  // not quite one would round elsewhere.
  const auto round = [](double x) { return static_cast<std::int64_t>(std::nearbyint(x)); };
  const auto last = static_cast<double>(T - 1);
  std::vector<std::int64_t> result;
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t from_end = steps - 1 - i;
    switch (config.timestep_spacing) {
      case Spacing::leading:  // the offset gives way where it would lead beyond T−1
        result.push_back(from_end * T / steps +
                         std::min(config.steps_offset, T - 1 - (steps - 1) * T / steps));
        break;
      case Spacing::trailing: {  // numpy.arange(T, 0, -T/K), which may add a step too many: not
                                 // here
        const auto begin = static_cast<double>(T);
        const double delta = (begin - begin / static_cast<double>(steps)) - begin;
        result.push_back(round(begin + static_cast<double>(i) * delta) - 1);
        break;
      }
      case Spacing::linspace:  // numpy.linspace(0, T−1, K), reversed
        result.push_back(steps == 1 ? 0
                         : i == 0   ? T - 1
                                    : round(static_cast<double>(from_end) *
                                            (last / static_cast<double>(steps - 1))));
        break;
      default:
        throw Error("timesteps", fmt::format("spacing {} chooses no whole timesteps",
                                             name(config.timestep_spacing)));
    }
  }
  return result;
}

namespace {

std::vector<double> shifted_times(const SchedulerConfig& config, std::int64_t steps) {
  validate(config);
  const std::int64_t T = config.num_train_timesteps;
  expect_steps(T, steps);
  constexpr double kShift = 2;
  std::vector<double> times;
  for (std::int64_t i = 0; i < steps; ++i) {
    const double tau = static_cast<double>(steps - i) / static_cast<double>(steps);
    times.push_back(kShift * tau / (1 + (kShift - 1) * tau) * static_cast<double>(T) - 1);
  }
  return times;
}

}  // namespace

std::vector<double> grid_times(const SchedulerConfig& config, std::int64_t steps) {
  if (config.timestep_spacing == Spacing::shifted) return shifted_times(config, steps);
  const std::int64_t T = config.num_train_timesteps;
  const bool linspace = config.timestep_spacing == Spacing::linspace;
  const Sampler::Grid grid = config.sampler.grid;
  const bool drop = grid == Sampler::Grid::without_last && steps < T &&
                    config.timestep_spacing != Spacing::trailing;
  const std::vector<std::int64_t> whole = timesteps(config, steps + (drop ? 1 : 0));
  std::vector<double> times(whole.begin(), whole.end() - (drop ? 1 : 0));
  if (grid != Sampler::Grid::fractional || !linspace) return times;
  // With a shift, the flow's classes end at the shifted time of timestep 0, and shift it once more.
  const bool flow = *config.beta_schedule.path == Path::flow;
  const double more = flow ? config.shift - 1 : 0, first_u = 1 / static_cast<double>(T);
  const double first = more * (1 - first_u) / (1 + more * first_u);
  const auto last = static_cast<double>(T - 1);
  for (std::int64_t i = 0; i < steps && steps > 1; ++i)
    times[static_cast<std::size_t>(i)] = first + (last - first) *
                                                     static_cast<double>(steps - 1 - i) /
                                                     static_cast<double>(steps - 1);
  if (steps == 1 && flow) times[0] = last;
  return times;
}

StepStarts step_starts(const Schedule& schedule, const SchedulerConfig& config,
                       std::int64_t steps) {
  const bool by_sigma =
      config.timestep_spacing == Spacing::karras || config.timestep_spacing == Spacing::log_snr;
  StepStarts starts;
  if (by_sigma) {
    starts.levels = sigma_levels(schedule, config, steps);
    for (const NoiseLevel& level : starts.levels)
      starts.times.push_back(schedule.network_time(schedule.time_at(level)));
    return starts;
  }
  for (const double t : grid_times(config, steps)) {
    starts.times.push_back(schedule.network_time(t));
    starts.levels.push_back(schedule.level_at(t));
  }
  return starts;
}

}  // namespace sfumato::diffusion
