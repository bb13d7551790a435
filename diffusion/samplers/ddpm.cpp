// Ancestral sampling: x_{t−1} = mean(x̂_0, x_t) + σ_t z. DDPM (Ho 2020), algorithm 2.
//
// σ_t is √β̃_t (fixed_small) or √β_t (fixed_large), and 0 at t = 0. As in `diffusers`, fixed_large thus adds noise in a
// last step that begins above t = 0. (Other processes than DDPM's add none there.)
#include <cmath>

#include "diffusion/forward.h"
#include "diffusion/sampler.h"

namespace sfumato::diffusion {
namespace {

Tensor sample_ddpm(const Chain& chain, Tensor x) {
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Tensor x0 = chain.estimate(i, x).x0;
    const PosteriorWeights q = posterior_weights(s, t);
    const bool small = chain.config.variance_type == Variance::fixed_small;
    const bool from_zero = chain.times[i] == 0 || *chain.path != Path::variance_preserving;
    const bool noisy = s.noise_variance > 0 || !from_zero;
    const double sigma = noisy ? std::sqrt(small ? q.variance : q.beta) : 0;
    x = q.x0 * x0 + q.xt * x;
    if (sigma > 0) x = x + sigma * chain.noise(i, x);
    chain.done(i, x, x0);
  }
  return x;
}

}  // namespace

const Sampler Sampler::ddpm = {.name = "ddpm",
                               .diffusers = "DDPMScheduler",
                               .pipeline = "DDPMPipeline",
                               .field = "variance_type",
                               .help = "new noise in each step",
                               .default_steps = 0,
                               .sample = sample_ddpm};

}  // namespace sfumato::diffusion
