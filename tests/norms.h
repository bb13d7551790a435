// How far apart two tensors are, for comparisons relative to a norm.
#pragma once
#include <cmath>
#include <span>

#include "tensor/tensor.h"

namespace sfumato {

// ‖a - b‖ in double.
inline double distance(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return std::sqrt(sum);
}
inline double norm(std::span<const float> a) {
  double sum = 0;
  for (const float v : a) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}
inline double distance(const Tensor& a, const Tensor& b) {
  return distance(a.values<float>(), b.values<float>());
}
inline double norm(const Tensor& a) { return norm(a.values<float>()); }

}  // namespace sfumato
