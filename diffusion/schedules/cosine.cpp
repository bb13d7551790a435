// ᾱ a squared cosine of time. Improved DDPM (Nichol & Dhariwal 2021), eq. 17:
//     ᾱ(u) = f(u) / f(0),    f(u) = cos²((u + s) / (1 + s) · π/2),    u = t/T,    s = 0.008.
// The offset s keeps the first β from being too small to learn from. β_t = 1 − ᾱ_t / ᾱ_{t−1}, where
// f(0) cancels, is cut at 0.999 since the last would be 1.
#include <cmath>
#include <numbers>

#include "diffusion/schedule.h"
#include "diffusion/schedules/alpha_bar.h"

namespace sfumato::diffusion {
namespace {

std::vector<double> cosine_betas(std::int64_t steps, double, double) {
  return betas_of(steps, [](double u) {
    const double c = std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2);
    return c * c;
  });
}

}  // namespace

const BetaSchedule BetaSchedule::cosine = {.name = "cosine",
                                           .diffusers = "squaredcos_cap_v2",
                                           .help = "ᾱ a squared cosine of time",
                                           .betas = cosine_betas};

}  // namespace sfumato::diffusion
