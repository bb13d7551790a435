// DPM-Solver-2 (Lu 2022, "DPM-Solver"), as k-diffusion writes it: the velocity at the geometric mean of both σ, of second
// order; and with new noise in each step. The step to the data is Euler's.
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

// Along the flow from level t to level s by the midpoint's velocity.
Tensor dpm2_step(const Chain& chain, const Flow& flow, std::int64_t i, const NoiseLevel& s,
                 const Tensor& x) {
  const NoiseLevel t = chain.levels[i];
  const Estimate e = chain.estimate(i, x);
  const Tensor d = flow.velocity(t, e);
  const double sigma = std::sqrt(t.sigma() * s.sigma());
  if (!(sigma > 0 && std::isfinite(sigma))) return flow.step(t, s, x, d);
  const NoiseLevel middle = chain.path->at_sigma(sigma);
  const Tensor x_middle = flow.step(t, middle, x, d);
  return flow.step(t, s, x, flow.velocity(middle, chain.estimate(middle, x_middle)));
}

Tensor sample_dpm2(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    x = dpm2_step(chain, flow, i, chain.levels[i + 1], x);
    chain.done(i, x, x);
  }
  return x;
}

Tensor sample_dpm2_ancestral(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel s = chain.levels[i + 1];
    const auto [down, up] = Ancestral(chain.levels[i], s);
    x = dpm2_step(chain, flow, i, {s.signal_variance, s.signal_variance * down * down}, x);
    if (up > 0) x = x + s.signal() * up * chain.noise(i, x);
    chain.done(i, x, x);
  }
  return x;
}

constexpr Sampler::Setting kDpm2Settings[] = {{"use_beta_sigmas", "false"}};

}  // namespace

const Sampler Sampler::dpm2 = {.name = "dpm2",
                               .diffusers = "KDPM2DiscreteScheduler",
                               .settings = kDpm2Settings,
                               .grid = Sampler::Grid::fractional,
                               .sigma_spacings = kSigmaFlags,
                               .help = "DPM-Solver-2; 2 evaluations a step",
                               .default_steps = 20,
                               .sample = sample_dpm2};

const Sampler Sampler::dpm2_ancestral = {.name = "dpm2_ancestral",
                                         .diffusers = "KDPM2AncestralDiscreteScheduler",
                                         .settings = kDpm2Settings,
                                         .grid = Sampler::Grid::fractional,
                                         .sigma_spacings = kSigmaFlags,
                                         .help = "DPM-Solver-2 with new noise in each step",
                                         .default_steps = 20,
                                         .sample = sample_dpm2_ancestral};

}  // namespace sfumato::diffusion
