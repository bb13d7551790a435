// Restart (Xu 2023), algorithm 1, around Heun's method: from σ_min of an interval, noise is added up to its σ_max, and the
// interval is walked again, K times. New noise contracts the errors made so far; the walk between is an ODE's. The interval here
// is [0.06, 1], K = 2; without two levels inside it, nothing restarts.
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

constexpr double kRestartMin = 0.06, kRestartMax = 1;
constexpr std::int64_t kRestarts = 2;

Tensor sample_restart(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  const std::int64_t K = chain.steps();
  const auto walk = [&](std::int64_t begin, std::int64_t end, bool shown) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Estimate e = chain.estimate(i, x);
      x = heun_step(flow, chain.levels[i], chain.levels[i + 1], x, e,
                    [&](const Tensor& there) { return chain.estimate(i + 1, there); });
      if (shown) chain.done(i, x, e.x0);
    }
  };
  std::int64_t begin = 0, end = 0;  // the levels of the interval
  while (begin < K && chain.levels[begin].sigma() > kRestartMax) ++begin;
  for (end = begin; end + 1 < K && chain.levels[end + 1].sigma() >= kRestartMin;) ++end;
  walk(0, end, true);
  for (std::int64_t k = 0; k < kRestarts && begin < end; ++k) {
    const NoiseLevel low = chain.levels[end], high = chain.levels[begin];
    const double added = std::sqrt(high.sigma() * high.sigma() - low.sigma() * low.sigma());
    x = high.signal() / low.signal() * x + high.signal() * added * chain.noise(k, x);
    walk(begin, end, false);
  }
  walk(end, K, true);
  return x;
}

}  // namespace

const Sampler Sampler::restart = {.name = "restart",
                                  .diffusers = "restart",
                                  .grid = Sampler::Grid::fractional,
                                  .help = "Heun's method, with part of the way walked three times",
                                  .default_steps = 20,
                                  .sample = sample_restart};

}  // namespace sfumato::diffusion
