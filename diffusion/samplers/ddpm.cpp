// Ancestral sampling: x_{t−1} = mean(x̂_0, x_t) + σ_t z. DDPM (Ho 2020), algorithm 2.
//
// σ_t is √β̃_t (fixed_small), √β_t (fixed_large) or what the network says of each number (learned_range: Improved DDPM,
// Nichol & Dhariwal 2021, eq. 15), and 0 at t = 0. As in `diffusers`, the last two thus add noise in a last step that begins
// above t = 0, where it takes β̃ = 1e-20 for 0. (Other processes than DDPM's add none there.)
#include <algorithm>
#include <cmath>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/sampler.h"

namespace sfumato::diffusion {
namespace {

// √Σ_θ z.
Tensor learned_noise(const Tensor& variance, const PosteriorWeights& q, const Tensor& z) {
  if (!variance.defined())
    throw Error("sample", "variance_type learned_range needs a network of twice as many channels");
  const double smallest = std::max(q.variance, 1e-20);
  const Var log_sigma = (Var(variance) * 0.5 + 0.5) * (0.5 * std::log(q.beta / smallest));
  return (exp(log_sigma) * std::sqrt(smallest) * Var(z)).value();
}

Tensor sample_ddpm(const Chain& chain, Tensor x) {
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    Tensor variance;
    const Tensor x0 = chain.estimate(i, x, &variance).x0;
    const PosteriorWeights q = posterior_weights(s, t);
    const bool small = chain.config.variance_type == Variance::fixed_small;
    const bool from_zero = chain.times[i] == 0 || *chain.path != Path::variance_preserving;
    const bool noisy = s.noise_variance > 0 || !from_zero;
    const bool learned = chain.config.variance_type == Variance::learned_range;
    const double sigma = noisy && !learned ? std::sqrt(small ? q.variance : q.beta) : 0;
    x = q.x0 * x0 + q.xt * x;
    if (sigma > 0) x = x + sigma * chain.noise(i, x);
    if (noisy && learned) x = x + 1.0 * learned_noise(variance, q, chain.noise(i, x));
    chain.done(i, x, x0);
  }
  return x;
}

}  // namespace

const Sampler Sampler::ddpm = {.name = "ddpm",
                               .diffusers = "DDPMScheduler",
                               .field = "variance_type",
                               .help = "new noise in each step",
                               .default_steps = 0,
                               .sample = sample_ddpm};

}  // namespace sfumato::diffusion
