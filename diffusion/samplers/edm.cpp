// EDM's stochastic sampler (Karras 2022), algorithm 2: noise is added first, from σ to σ̂ = (1 + γ) σ, and the step from there is
// Heun's. S_churn and the others are those of the paper's table 5 for ImageNet.
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

constexpr double kChurn = 40, kSigmaMin = 0.05, kSigmaMax = 50, kNoise = 1.003;

Tensor sample_edm(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  const double gamma = std::min(kChurn / static_cast<double>(chain.steps()), std::sqrt(2.0) - 1);
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    NoiseLevel t = chain.levels[i];
    const NoiseLevel s = chain.levels[i + 1];
    const double sigma = t.sigma();
    const bool churn = sigma >= kSigmaMin && sigma <= kSigmaMax;
    if (churn) {
      const NoiseLevel hat = chain.path->at_sigma((1 + gamma) * sigma);
      const double added = std::sqrt(hat.sigma() * hat.sigma() - sigma * sigma) * kNoise;
      x = hat.signal() / t.signal() * x + hat.signal() * added * chain.noise(i, x);
      t = hat;
    }
    const Estimate e = churn ? chain.estimate(t, x) : chain.estimate(i, x);
    x = heun_step(flow, t, s, x, e,
                  [&](const Tensor& there) { return chain.estimate(i + 1, there); });
    chain.done(i, x, e.x0);
  }
  return x;
}

}  // namespace

const Sampler Sampler::edm = {.name = "edm",
                              .diffusers = "edm",
                              .grid = Sampler::Grid::fractional,
                              .help = "EDM's: Heun's method after new noise; 2 evaluations a step",
                              .default_steps = 20,
                              .sample = sample_edm};

}  // namespace sfumato::diffusion
