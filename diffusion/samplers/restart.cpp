// Restart (Xu 2023), algorithm 1, around any sampler: from σ_min of an interval, noise is added up to its σ_max, and the
// interval is walked again, K times. New noise contracts the errors made so far. The interval here is [0.06, 1], K = 2; without
// two levels inside it, nothing restarts. A sampler of several steps begins anew in each of the walks.
#include <utility>

#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

constexpr double kRestartMin = 0.06, kRestartMax = 1;
constexpr std::int64_t kRestarts = 2;

// Levels begin..end as a chain of its own, whose steps draw the noise of `noise_from` and on.
Chain part_of(const Chain& chain, std::int64_t begin, std::int64_t end, std::int64_t noise_from) {
  Chain part = chain;
  part.first = chain.levels.front();
  part.levels.assign(chain.levels.begin() + begin, chain.levels.begin() + end + 1);
  part.times.assign(chain.times.begin() + begin, chain.times.begin() + end);
  if (end < chain.steps())  // what the network is told there
    part.time_at = [other = chain.time_at, last = chain.levels[end],
                    time = chain.times[end]](const NoiseLevel& level) {
      const bool is_last = level.signal_variance == last.signal_variance &&
                           level.noise_variance == last.noise_variance;
      return is_last ? time : other(level);
    };
  part.noise = [noise = chain.noise, noise_from](std::int64_t step, const Tensor& x) {
    return noise(noise_from + step, x);
  };
  if (chain.on_step)
    part.on_step = [show = chain.on_step, begin](const Progress& p) {
      show(Progress{begin + p.step, p.t, p.x, p.x0});
    };
  return part;
}

Tensor sample_restart(const Chain& chain, Tensor x) {
  return walk_with_restarts(chain, std::move(x), walk_by_heun);
}

}  // namespace

Tensor walk_with_restarts(const Chain& chain, Tensor x, const Walk& walk) {
  const std::int64_t K = chain.steps();
  std::int64_t begin = 0, end = 0;  // the levels of the interval
  while (begin < K && chain.levels[begin].sigma() > kRestartMax) ++begin;
  for (end = begin; end + 1 < K && chain.levels[end + 1].sigma() >= kRestartMin;) ++end;
  std::int64_t noises = kRestarts;  // the first are those that are added
  const auto go = [&](std::int64_t from, std::int64_t to, bool shown) {
    if (from == to) return;
    Chain part = part_of(chain, from, to, noises);
    if (!shown) part.on_step = {};
    x = walk(part, x);
    chain.guide_memory = part.guide_memory, chain.last_x0 = part.last_x0;
    noises += to - from;
  };
  go(0, end, true);
  for (std::int64_t k = 0; k < kRestarts && begin < end; ++k) {
    const NoiseLevel low = chain.levels[end], high = chain.levels[begin];
    const double added = std::sqrt(high.sigma() * high.sigma() - low.sigma() * low.sigma());
    x = high.signal() / low.signal() * x + high.signal() * added * chain.noise(k, x);
    go(begin, end, false);
  }
  go(end, K, true);
  chain.guide_memory = {}, chain.last_x0 = {};
  return x;
}

const Sampler Sampler::restart = {.name = "restart",
                                  .diffusers = "restart",
                                  .grid = Sampler::Grid::fractional,
                                  .restarts = true,
                                  .help = "Heun's method, with part of the way walked three times",
                                  .default_steps = 20,
                                  .sample = sample_restart};

}  // namespace sfumato::diffusion
