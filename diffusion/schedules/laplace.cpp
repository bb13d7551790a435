// Noise levels from Laplace's distribution: most steps where signal and noise are equal. "Improved Noise Schedule for
// Diffusion Training" (Hang 2024), table 1: λ(u) = −b sgn(½ − u) log(1 − 2 |½ − u|), here with b = ½ and, as `diffusers` has
// it, ᾱ = √sigmoid(λ).
#include <cmath>

#include "diffusion/schedule.h"
#include "diffusion/schedules/alpha_bar.h"

namespace sfumato::diffusion {
namespace {

std::vector<double> laplace_betas(std::int64_t steps, double, double) {
  return betas_of(steps, [](double u) {
    const double lambda =
        -0.5 * std::copysign(1.0, 0.5 - u) * std::log(1 - 2 * std::abs(0.5 - u) + 1e-6);
    return std::sqrt(1 / (1 + std::exp(-lambda)));
  });
}

}  // namespace

const BetaSchedule BetaSchedule::laplace = {.name = "laplace",
                                            .diffusers = "laplace",
                                            .help = "log-SNR spread like Laplace's distribution",
                                            .betas = laplace_betas};

}  // namespace sfumato::diffusion
