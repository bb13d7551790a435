// β rises like the logistic function: β_i = σ(−6 + 12 i / (T−1)) (β_end − β_start) + β_start. GeoDiff (Xu 2022).
#include <cmath>

#include "diffusion/schedule.h"
#include "diffusion/schedules/spaced.h"

namespace sfumato::diffusion {
namespace {

std::vector<double> sigmoid_betas(std::int64_t steps, double beta_start, double beta_end) {
  expect_beta_bounds(beta_start, beta_end);
  std::vector<double> beta;
  for (const float u : linspace(-6, 6, steps))
    beta.push_back((beta_end - beta_start) / (1 + std::exp(-static_cast<double>(u))) + beta_start);
  return beta;
}

}  // namespace

const BetaSchedule BetaSchedule::sigmoid = {.name = "sigmoid",
                                            .diffusers = "sigmoid",
                                            .help = "β rises like the logistic function",
                                            .betas = sigmoid_betas};

}  // namespace sfumato::diffusion
