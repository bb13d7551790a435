// Euler's method with new noise in each step: along the flow to σ_down, then noise up to σ_s. k-diffusion (Crowson 2022),
// sample_euler_ancestral. With x_0 and ε exact it draws from DDPM's posterior.
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

Tensor sample_euler_ancestral(const Chain& chain, Tensor x) {
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const auto [down, up] = Ancestral(t, s);
    const auto [x0, eps] = chain.estimate(i, x);
    x = s.signal() * x0 + s.signal() * down * eps;  // x / a = x̂_0 + σ ε̂
    if (up > 0) x = x + s.signal() * up * chain.noise(i, x);
    chain.done(i, x, x0);
  }
  return x;
}

}  // namespace

const Sampler Sampler::euler_ancestral = {.name = "euler_ancestral",
                                          .diffusers = "EulerAncestralDiscreteScheduler",
                                          .grid = Sampler::Grid::fractional,
                                          .help = "Euler's method with new noise in each step",
                                          .default_steps = 20,
                                          .sample = sample_euler_ancestral};

}  // namespace sfumato::diffusion
