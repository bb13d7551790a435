// ᾱ(u) = e^(−12 u): each step takes the same share of the picture away. The schedule "exp" of `diffusers`, for k-diffusion.
#include <cmath>

#include "diffusion/schedule.h"
#include "diffusion/schedules/alpha_bar.h"

namespace sfumato::diffusion {
namespace {

std::vector<double> exponential_betas(std::int64_t steps, double, double) {
  return betas_of(steps, [](double u) { return std::exp(-12 * u); });
}

}  // namespace

const BetaSchedule BetaSchedule::exponential = {.name = "exponential",
                                                .diffusers = "exp",
                                                .help = "ᾱ falls exponentially",
                                                .betas = exponential_betas,
                                                .betas_in_file = true};

}  // namespace sfumato::diffusion
