// How far apart two tensors are.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
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

// The largest |a - b|.
inline double max_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  const Tensor x = a.to(DType::f64), y = b.to(DType::f64);
  double worst = 0;
  for (std::int64_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, std::abs(x.data<double>()[i] - y.data<double>()[i]));
  return worst;
}

}  // namespace sfumato
