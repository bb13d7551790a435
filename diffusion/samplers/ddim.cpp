// DDIM (Song 2020), eq. 12, with σ_t of eq. 16; in the paper's words √ᾱ = a and √(1−ᾱ) = σ:
//     x_{t−1} = √ᾱ_{t−1} x̂_0  +  √(1−ᾱ_{t−1}−σ_t²) ε̂  +  σ_t z,
//     σ_t = η √((1−ᾱ_{t−1}) / (1−ᾱ_t)) √(1 − ᾱ_t / ᾱ_{t−1}).
// Why it has the right distribution: with the true x_0 and ε, the last two terms are independent
// Gaussians of variance (1−ᾱ_{t−1}−σ_t²) + σ_t², so x_{t−1} is as eq. 4 of DDPM wants it, whatever
// σ_t is. eta = 0 adds no noise, and is then Euler's method for the probability flow of any process of noise_level.h;
// eta = 1 is DDPM with fixed_small.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion/forward.h"
#include "diffusion/sampler.h"

namespace sfumato::diffusion {
namespace {

Tensor sample_ddim(const Chain& chain, Tensor x) {
  if (!(chain.eta >= 0 && chain.eta <= 1))
    throw Error("sample", fmt::format("eta = {} is outside [0, 1]", chain.eta));
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const auto [x0, eps] = chain.estimate(i, x);
    const double sigma = chain.eta * std::sqrt(posterior_weights(s, t).variance);
    // Never negative but for rounding: it is (1−ᾱ_{t−1})² ᾱ_t / (ᾱ_{t−1} (1−ᾱ_t)) at eta = 1.
    const double direction = std::sqrt(std::max(0.0, s.noise_variance - sigma * sigma));
    x = s.signal() * x0 + direction * eps;
    if (sigma > 0) x = x + sigma * chain.noise(i, x);
    chain.done(i, x, x0);
  }
  return x;
}

}  // namespace

const Sampler Sampler::ddim = {.name = "ddim",
                               .diffusers = "DDIMScheduler",
                               .pipeline = "DDIMPipeline",
                               .field = "set_alpha_to_one",
                               .may_end_at_first_level = true,
                               .takes_eta = true,
                               .takes_both = true,
                               .help = "no new noise, or as much as --eta says",
                               .default_steps = 20,
                               .sample = sample_ddim};

}  // namespace sfumato::diffusion
