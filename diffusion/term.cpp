#include "diffusion/term.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "tensor/parallel.h"

namespace sfumato::diffusion {
namespace {

constexpr std::int64_t kGrain = 1 << 14;  // elements a task

// How many images the coefficients tell apart: 1 where they are the same for all.
std::int64_t images(const Coefficient& a, const Coefficient& b) {
  if (a.size() != b.size() && a.size() != 1 && b.size() != 1)
    throw Error("coefficients",
                fmt::format("{} and {} numbers for the images of a batch", a.size(), b.size()));
  return a.size() == 1 ? b.size() : a.size();
}

// f(a[n], b[n]) for each image.
template <class F>
Coefficient combine(const Coefficient& a, const Coefficient& b, F f) {
  std::vector<double> values;
  for (std::int64_t n = 0; n < images(a, b); ++n) values.push_back(f(a[n], b[n]));
  return Coefficient(std::move(values));
}

}  // namespace

Coefficient operator-(const Coefficient& a) {
  std::vector<double> negative;
  for (std::int64_t n = 0; n < a.size(); ++n) negative.push_back(-a[n]);
  return Coefficient(std::move(negative));
}

Coefficient operator+(const Coefficient& a, const Coefficient& b) {
  return combine(a, b, std::plus());
}

Coefficient operator/(const Coefficient& a, const Coefficient& b) {
  return combine(a, b, std::divides());
}

Tensor operator+(const Term& a, const Term& b) {
  expect_shape("sum", "second term", b.x, a.x.shape());
  expect_dtype("sum", "second term", b.x, a.x.dtype());
  const std::int64_t rows = images(a.factor, b.factor);
  if (rows != 1 && (a.x.shape().rank() < 1 || a.x.dim(0) != rows))
    throw Error("sum", fmt::format("coefficients for {} images, terms of shape {}", rows,
                                   a.x.shape().str()));
  Tensor sum(a.x.shape(), a.x.dtype());
  const std::int64_t width = rows > 0 ? sum.size() / rows : 0;  // elements of an image
  dispatch_float("sum", sum.dtype(), [&]<class T>() {
    const T *x = a.x.data<T>(), *y = b.x.data<T>();
    T* to = sum.data<T>();
    parallel_ranges(sum.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin / width; begin < end; ++n) {
        const T p = static_cast<T>(a.factor[n]), q = static_cast<T>(b.factor[n]);
        for (const std::int64_t stop = std::min(end, (n + 1) * width); begin < stop; ++begin)
          to[begin] = p * x[begin] + q * y[begin];
      }
    });
  });
  return sum;
}

Tensor operator-(const Term& a, const Term& b) { return a + Term{-b.factor, b.x}; }

}  // namespace sfumato::diffusion
