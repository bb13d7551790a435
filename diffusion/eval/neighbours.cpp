#include "diffusion/eval/neighbours.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include "tensor/error.h"
#include "tensor/parallel.h"

namespace sfumato::eval {
namespace {

// Σ (x − y)². Integers add up exactly: 255² · 32768 pixels at a time fit in 32 bits.
template <class T>
double squared_distance(const T* x, const T* y, std::int64_t n) {
  using Sum = std::conditional_t<std::is_same_v<T, std::uint8_t>, std::int32_t, float>;
  constexpr std::int64_t kPart = 1 << 15;
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kPart) {
    Sum sum = 0;
    for (std::int64_t i = begin; i < n && i < begin + kPart; ++i) {
      const Sum d = static_cast<Sum>(x[i]) - static_cast<Sum>(y[i]);
      sum += d * d;
    }
    total += static_cast<double>(sum);
  }
  return total;
}

template <class T>
Neighbours nearest_of(const T* picture, const Tensor& set, std::int64_t pixels) {
  constexpr double kFar = std::numeric_limits<double>::infinity();
  Neighbours n{-1, -1, kFar, kFar};
  for (std::int64_t i = 0; i < set.dim(0); ++i) {
    const double d = squared_distance(picture, set.data<T>() + i * pixels, pixels);
    if (d < n.first_distance) {
      n.second = n.first, n.second_distance = n.first_distance;
      n.first = i, n.first_distance = d;
    } else if (d < n.second_distance) {
      n.second = i, n.second_distance = d;
    }
  }
  const double unit = std::is_same_v<T, std::uint8_t> ? 2.0 / 255 : 1;
  for (double* d : {&n.first_distance, &n.second_distance})
    *d = unit * std::sqrt(*d / static_cast<double>(pixels));
  return n;
}

}  // namespace

std::vector<Neighbours> nearest(const Tensor& pictures, const Tensor& set) {
  expect_rank("nearest", "pictures", pictures, 4);
  expect_dtype("nearest", "set", set, pictures.dtype());
  if (set.shape().rank() != 4 || set.dim(0) < 1 ||
      !(set.shape().with(0, 1) == pictures.shape().with(0, 1)))
    throw Error("nearest", fmt::format("pictures {} cannot be compared with a set {}",
                                       pictures.shape().str(), set.shape().str()));
  const std::int64_t n = pictures.dim(0), pixels = set.size() / set.dim(0);
  std::vector<Neighbours> found(static_cast<std::size_t>(n));
  const auto search = [&]<class T>(T) {
    parallel_for(n, [&](std::int64_t i) {
      found[static_cast<std::size_t>(i)] = nearest_of(pictures.data<T>() + i * pixels, set, pixels);
    });
  };
  if (pictures.dtype() == DType::u8) {
    search(std::uint8_t{});
  } else {
    expect_dtype("nearest", "pictures", pictures, DType::f32);
    search(float{});
  }
  return found;
}

}  // namespace sfumato::eval
