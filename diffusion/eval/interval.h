// Error bars: how much a measure of drawn pictures would change if others had been drawn.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

namespace sfumato::eval {

// A measured value and a 95 % interval for what the measure is on average over sets of as many pictures from the same
// source. What the pictures are compared with (the real ones, the classifier) is taken as given. Without an interval
// both bounds are NaN.
struct Estimate {
  double value;
  double low = std::numeric_limits<double>::quiet_NaN(),
         high = std::numeric_limits<double>::quiet_NaN();
};
// As a multiple of a positive number, such as the floor of real pictures.
inline Estimate operator/(const Estimate& e, double by) {
  return {e.value / by, e.low / by, e.high / by};
}

inline constexpr std::int64_t kResamples = 400;

// `hits` of `trials` in per cent, with Wilson's interval (Wilson 1927, "Probable inference, the law of succession, and
// statistical inference"). The bootstrap of a share is no other than the binomial distribution, but has no width at 0 and
// 100 %. Throws Error unless there are trials.
Estimate share(std::int64_t hits, std::int64_t trials);

// How often each of n pictures is in a resample: n draws with replacement (Efron 1979, "Bootstrap methods: another look
// at the jackknife"). A function of `resample` and n.
using Weights = std::vector<double>;
Weights resample_weights(std::int64_t n, std::int64_t resample);

// `value` with the bootstrap's interval: measure(weights) of `resamples` resamples of n pictures; without one for none.
// A resample measures too large by as much again as the sample does where the measure has a bias (a distance between
// sets has). So the resamples tell how the measure scatters about its mean, not where that is:
//   [v − (q(97.5 %) − m), v − (q(2.5 %) − m)]     v: value, q: quantiles of the resamples, m: their mean
// `measure` is called from several threads.
Estimate bootstrap(double value, std::int64_t n, std::int64_t resamples,
                   const std::function<double(const Weights&)>& measure);

// As above, of resamples that are measured already.
Estimate around(double value, std::vector<double> resampled);

}  // namespace sfumato::eval
