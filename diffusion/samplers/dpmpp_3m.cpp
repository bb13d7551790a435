// DPM-Solver++ multistep of third order (Lu 2022): x̂_0 as the parabola in λ through its last three values, in the exact
// integral of dpmpp_2m.cpp:
//     x_s = σ_s / σ_t x_t + a_s (φ1 D0 + φ2 D1 − φ3 D2),
//     φ1 = 1 − e^{−h},  φ2 = (e^{−h} − 1) / h + 1,  φ3 = (e^{−h} − 1 + h) / h² − ½.
// The first step is DDIM's, the second of second order; so are, backwards, the last two (below 15 steps).
#include "diffusion/samplers/dpm_settings.h"
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

Tensor sample_dpmpp_3m(const Chain& chain, Tensor x) {
  Multistep history(chain.steps(), 3);
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Tensor m0 = chain.estimate(i, x).x0;
    const double h = lambda(s) - lambda(t), e = std::expm1(-h);
    const auto [D1, D2] = history.differences(i, h, m0);
    x = s.noise() / t.noise() * x - s.signal() * e * m0;
    if (D2.defined()) {
      x = x + s.signal() * (e / h + 1) * D1;
      x = x + -s.signal() * ((e + h) / (h * h) - 0.5) * D2;
    } else if (D1.defined()) {
      x = x + -0.5 * s.signal() * e * D1;
    }
    chain.done(i, x, m0);
    history.remember(h, m0);
  }
  return x;
}

constexpr Sampler::Setting kDpmpp3mSettings[] = {{"algorithm_type", R"("dpmsolver++")"},
                                                 {"solver_order", "3", /*needed=*/true},
                                                 DPM_SOLVER_SETTINGS};

}  // namespace

const Sampler Sampler::dpmpp_3m = {.name = "dpmpp_3m",
                                   .diffusers = "DPMSolverMultistepScheduler",
                                   .settings = kDpmpp3mSettings,
                                   .grid = Sampler::Grid::without_last,
                                   .sigma_spacings = kSigmaFlags,
                                   .help = "DPM-Solver++, of third order without new noise",
                                   .default_steps = 20,
                                   .sample = sample_dpmpp_3m};

}  // namespace sfumato::diffusion
