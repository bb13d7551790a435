// ᾱ falls like the logistic function. "Scalable Adaptive Computation for Iterative Generation" (Jabri 2022), algorithm 1, with
// its start −3, end 3 and τ = 1:  ᾱ(u) = (σ(3) − σ(6 u − 3)) / (σ(3) − σ(−3)).
#include <cmath>

#include "diffusion/schedule.h"
#include "diffusion/schedules/alpha_bar.h"

namespace sfumato::diffusion {
namespace {

std::vector<double> sigmoid_alpha_betas(std::int64_t steps, double, double) {
  const auto logistic = [](double x) { return 1 / (1 + std::exp(-x)); };
  return betas_of(steps, [&](double u) {
    return (logistic(3) - logistic(6 * u - 3)) / (logistic(3) - logistic(-3));
  });
}

}  // namespace

const BetaSchedule BetaSchedule::sigmoid_alpha = {.name = "sigmoid_alpha",
                                                  .diffusers = "sigmoid_alpha",
                                                  .help = "ᾱ falls like the logistic function",
                                                  .betas = sigmoid_alpha_betas,
                                                  .betas_in_file = true};

}  // namespace sfumato::diffusion
