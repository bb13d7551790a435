// Where a sampler's K steps begin: K timesteps, or K noise levels, from the schedule's last to its first, by
// SchedulerConfig::timestep_spacing.
#pragma once
#include <cstdint>
#include <vector>

#include "diffusion/noise_level.h"
#include "diffusion/schedule.h"
#include "diffusion/scheduler_config.h"

namespace sfumato::diffusion {

// K timesteps in falling order, of the spacings that choose timesteps. Throws unless 1 <= K <= T. As `diffusers`
// chooses them, but for leading spacing where K does not divide T: it takes multiples of T / K rounded down, which
// for 501 of 1000 steps begins at t = 500, in the middle of the noise; here they are i T / K rounded down.
std::vector<std::int64_t> timesteps(const SchedulerConfig& config, std::int64_t steps);

// The same as config.sampler.grid has them: `whole` is timesteps(); without_last is all but the last of K + 1 (where
// K = T, all); fractional does not round linspace; and shifted spacing, which is never rounded.
std::vector<double> grid_times(const SchedulerConfig& config, std::int64_t steps);

// Of x before each of K steps.
struct StepStarts {
  std::vector<double> times;  // that the network is told (Schedule::network_time)
  std::vector<NoiseLevel> levels;
};
// Throws as timesteps does, and for a spacing of σ where the schedule ends at zero SNR.
StepStarts step_starts(const Schedule& schedule, const SchedulerConfig& config, std::int64_t steps);

}  // namespace sfumato::diffusion
