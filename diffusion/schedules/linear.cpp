// β evenly spaced. DDPM (Ho 2020), section 4.
#include "diffusion/schedule.h"
#include "diffusion/schedules/spaced.h"

namespace sfumato::diffusion {
namespace {

std::vector<double> linear_betas(std::int64_t steps, double beta_start, double beta_end) {
  expect_beta_bounds(beta_start, beta_end);
  const std::vector<float> beta = linspace(beta_start, beta_end, steps);
  return {beta.begin(), beta.end()};
}

}  // namespace

const BetaSchedule BetaSchedule::linear = {
    .name = "linear", .diffusers = "linear", .help = "β evenly spaced", .betas = linear_betas};

}  // namespace sfumato::diffusion
