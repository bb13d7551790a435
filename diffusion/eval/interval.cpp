#include "diffusion/eval/interval.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/error.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

namespace sfumato::eval {
namespace {

constexpr std::uint64_t kResampleSeed = 20;

// Of sorted values, linear between them.
double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto i = static_cast<std::size_t>(at);
  if (i + 1 == sorted.size()) return sorted.back();
  return sorted[i] + (at - static_cast<double>(i)) * (sorted[i + 1] - sorted[i]);
}

}  // namespace

Estimate share(std::int64_t hits, std::int64_t trials) {
  if (trials < 1) throw Error("share", "expected one trial or more, got none");
  constexpr double z = 1.959963984540054;  // the normal distribution's quantile at 97.5 %
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(hits) / n, z2 = z * z / n;
  const double centre = (p + z2 / 2) / (1 + z2);
  const double half = z / (1 + z2) * std::sqrt(p * (1 - p) / n + z2 / (4 * n));
  return {100 * p, 100 * std::max(0.0, centre - half), 100 * std::min(1.0, centre + half)};
}

Weights resample_weights(std::int64_t n, std::int64_t resample) {
  Weights weights(static_cast<std::size_t>(n));
  const Tensor drawn =
      Rng(kResampleSeed, Purpose::general, static_cast<std::uint64_t>(resample)).randint({n}, n);
  for (const std::int64_t i : drawn.values<std::int64_t>()) ++weights[static_cast<std::size_t>(i)];
  return weights;
}

Estimate around(double value, std::vector<double> resampled) {
  if (resampled.empty()) return {value};
  std::sort(resampled.begin(), resampled.end());
  const double mean = std::accumulate(resampled.begin(), resampled.end(), 0.0) /
                      static_cast<double>(resampled.size());
  return {value, value - (quantile(resampled, 0.975) - mean),
          value - (quantile(resampled, 0.025) - mean)};
}

Estimate bootstrap(double value, std::int64_t n, std::int64_t resamples,
                   const std::function<double(const Weights&)>& measure) {
  std::vector<double> resampled(static_cast<std::size_t>(resamples));
  parallel_for(resamples, [&](std::int64_t r) {
    resampled[static_cast<std::size_t>(r)] = measure(resample_weights(n, r));
  });
  return around(value, std::move(resampled));
}

}  // namespace sfumato::eval
