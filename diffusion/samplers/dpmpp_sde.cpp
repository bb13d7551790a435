// SDE-DPM-Solver++ multistep (Lu 2022, appendix C), of second and third order in x̂_0: the reverse SDE from level t to level s is
//     x_s = σ_s / σ_t e^{−h} x_t + 2 a_s ∫ e^{−2(λ_s − λ)} x̂_0(λ) dλ + σ_s √(1 − e^{−2h}) z,
// where h = λ_s − λ_t. With x̂_0 held constant it is DDPM's step. Here x̂_0 is a line or a parabola through its last values:
//     x_s = σ_s / σ_t e^{−h} x_t + a_s (φ1 D0 + φ2 D1 + φ3 D2) + σ_s √(1 − e^{−2h}) z,
//     φ1 = 1 − e^{−2h},  φ2 = 1 − φ1 / (2h) (or φ1 / 2, the midpoint rule of the second order),  φ3 = (φ1 − 2h) / (2h)² + ½.
// (`diffusers` 0.42 has −½ in φ3, which then does not vanish with h; k-diffusion has it as here.)
#include <utility>

#include "diffusion/samplers/dpm_settings.h"
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

Tensor multistep_sde(const Chain& chain, Tensor x, int order) {
  Multistep history(chain.steps(), order);
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Tensor m0 = chain.estimate(i, x).x0;
    const double h = lambda(s) - lambda(t), phi1 = -std::expm1(-2 * h);
    const auto [D1, D2] = history.differences(i, h, m0);
    x = s.noise() / t.noise() * std::exp(-h) * x + s.signal() * phi1 * m0;
    if (D2.defined()) {
      x = x + s.signal() * (1 - phi1 / (2 * h)) * D1;
      x = x + s.signal() * ((phi1 - 2 * h) / (4 * h * h) + 0.5) * D2;
    } else if (D1.defined()) {
      x = x + 0.5 * s.signal() * phi1 * D1;
    }
    if (s.noise_variance > 0) x = x + s.noise() * std::sqrt(phi1) * chain.noise(i, x);
    chain.done(i, x, m0);
    history.remember(h, m0);
  }
  return x;
}

constexpr Sampler::Setting kSecond[] = {{"algorithm_type", R"("sde-dpmsolver++")", /*needed=*/true},
                                        {"solver_order", "2"},
                                        DPM_SOLVER_SETTINGS};
constexpr Sampler::Setting kThird[] = {{"algorithm_type", R"("sde-dpmsolver++")", /*needed=*/true},
                                       {"solver_order", "3", /*needed=*/true},
                                       DPM_SOLVER_SETTINGS};

}  // namespace

const Sampler Sampler::dpmpp_2m_sde = {
    .name = "dpmpp_2m_sde",
    .diffusers = "DPMSolverMultistepScheduler",
    .settings = kSecond,
    .grid = Sampler::Grid::without_last,
    .sigma_spacings = kSigmaFlags,
    .help = "DPM-Solver++, of second order with new noise in each step",
    .default_steps = 20,
    .sample = [](const Chain& chain, Tensor x) { return multistep_sde(chain, std::move(x), 2); }};

const Sampler Sampler::dpmpp_3m_sde = {
    .name = "dpmpp_3m_sde",
    .diffusers = "DPMSolverMultistepScheduler",
    .settings = kThird,
    .grid = Sampler::Grid::without_last,
    .sigma_spacings = kSigmaFlags,
    .help = "DPM-Solver++, of third order with new noise in each step",
    .default_steps = 20,
    .sample = [](const Chain& chain, Tensor x) { return multistep_sde(chain, std::move(x), 3); }};

}  // namespace sfumato::diffusion
