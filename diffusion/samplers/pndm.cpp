// PLMS: pseudo linear multistep. PNDM (Liu 2022), algorithm 2 with its transfer part (eq. 11), which is DDIM's step, and for ε̂ (of the flow's process its velocity)
// Adams-Bashforth's combination of the last four values (eq. 12). The first step, which has no values before it, is Heun's.
#include <array>
#include <deque>

#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

// Factors of ε̂, newest first, by how many there are.
constexpr std::array<std::array<double, 4>, 4> kFactors = {
    {{1, 0, 0, 0},
     {3. / 2, -1. / 2, 0, 0},
     {23. / 12, -16. / 12, 5. / 12, 0},
     {55. / 24, -59. / 24, 37. / 24, -9. / 24}}};

Tensor sample_plms(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  std::deque<Tensor> before;  // newest first
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Estimate e = chain.estimate(i, x);
    before.push_front(flow.velocity(t, e));
    if (before.size() > 4) before.pop_back();
    const std::array<double, 4>& c = kFactors[before.size() - 1];
    Tensor d = before[0];
    if (before.size() > 1) d = c[0] * before[0] + c[1] * before[1];
    for (std::size_t k = 2; k < before.size(); ++k) d = d + c[k] * before[k];
    if (i == 0 && chain.steps() > 1) {
      const Tensor there = flow.step(t, s, x, d);
      d = 0.5 * d + 0.5 * flow.velocity(s, chain.estimate(1, there));
    }
    x = flow.step(t, s, x, d);
    chain.done(i, x, e.x0);
  }
  return x;
}

constexpr Sampler::Setting kPndmSettings[] = {{"skip_prk_steps", "true", /*needed=*/true}};

}  // namespace

const Sampler Sampler::plms = {
    .name = "plms",
    .diffusers = "PNDMScheduler",
    .pipeline = "PNDMPipeline",
    .may_end_at_first_level = true,
    .settings = kPndmSettings,
    .help = "PNDM's linear multistep over four estimates, of second order",
    .default_steps = 20,
    .sample = sample_plms};

}  // namespace sfumato::diffusion
