// √β evenly spaced. Latent diffusion (Rombach 2022).
#include <cmath>

#include "diffusion/schedule.h"
#include "diffusion/schedules/spaced.h"

namespace sfumato::diffusion {
namespace {

std::vector<double> scaled_linear_betas(std::int64_t steps, double beta_start, double beta_end) {
  expect_beta_bounds(beta_start, beta_end);
  std::vector<double> beta;
  for (const float root : linspace(std::sqrt(beta_start), std::sqrt(beta_end), steps))
    beta.push_back(root * root);
  return beta;
}

}  // namespace

const BetaSchedule BetaSchedule::scaled_linear = {.name = "scaled_linear",
                                                  .diffusers = "scaled_linear",
                                                  .help = "√β evenly spaced",
                                                  .betas = scaled_linear_betas};

}  // namespace sfumato::diffusion
