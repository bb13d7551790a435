#include "diffusion/clip.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "tensor/for_each.h"

namespace sfumato::diffusion {
namespace {

template <class T>
struct CutOff {
  T* x;
  T limit;
  constexpr void operator()(std::int64_t i) const { x[i] = std::clamp(x[i], -limit, limit); }
};

// clamp(x, −s, s) / s, s of its picture.
template <class T>
struct CutOffAndScale {
  T* x;
  const T* s;
  std::int64_t width;  // of a picture
  constexpr void operator()(std::int64_t i) const {
    const T limit = s[i / width];
    x[i] = std::clamp(x[i], -limit, limit) / limit;
  }
};

// The q quantile of |x|. A NaN, which the sampler reports, counts as infinite.
template <class T>
double magnitude_quantile(const T* x, std::int64_t size, double q) {
  std::vector<double> magnitudes;
  for (std::int64_t i = 0; i < size; ++i) {
    const double value = static_cast<double>(x[i]);
    magnitudes.push_back(std::isnan(value) ? std::numeric_limits<double>::infinity()
                                           : std::abs(value));
  }
  const double rank = q * static_cast<double>(size - 1);
  const auto below = magnitudes.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(magnitudes.begin(), below, magnitudes.end());
  const double share = rank - std::floor(rank);
  if (share == 0) return *below;
  return *below + share * (*std::min_element(below + 1, magnitudes.end()) - *below);
}

}  // namespace

bool clips(const SchedulerConfig& config) { return config.thresholding || config.clip_sample; }

void clip(Tensor& x0, const SchedulerConfig& config) {
  if (!clips(config) || x0.size() == 0) return;
  dispatch_float("sample", x0.dtype(), [&]<class T>() {
    if (!config.thresholding) {
      for_each(x0.device(), x0.size(),
               CutOff<T>{x0.data<T>(), static_cast<T>(config.clip_sample_range)});
      return;
    }
    const std::int64_t n = x0.dim(0), width = x0.size() / n;
    const Tensor pictures = x0.to(Device::cpu);
    Tensor limits({n}, pictures.kind());
    for (std::int64_t i = 0; i < n; ++i)
      limits.data<T>()[i] =
          static_cast<T>(std::clamp(magnitude_quantile(pictures.data<T>() + i * width, width,
                                                       config.dynamic_thresholding_ratio),
                                    1.0, config.sample_max_value));
    const Tensor s = limits.to(x0.device());
    for_each(x0.device(), x0.size(), CutOffAndScale<T>{x0.data<T>(), s.data<T>(), width});
  });
}

Tensor cut_off(const Tensor& x0, double range) {
  Tensor result = x0.clone();
  clip(result, {.clip_sample = true, .clip_sample_range = range});
  return result;
}

}  // namespace sfumato::diffusion
