// SiLU, GELU, softmax and sums: inputs, what the reference makes of them, and the comparison. The tests of a device say where its
// arrays are:
//
//   struct Place {
//     template <class T> using Input = ...;                  // made from a std::vector<T>
//     template <class T> using Output = ...;                 // made of a count
//     template <class T> static const Kernels<T>& kernels();
//   };
#pragma once
#include <limits>

#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {

template <class T>
std::vector<T> scaled(std::vector<T> x, T factor) {
  for (T& v : x) v *= factor;
  return x;
}

// The rows of a pointwise function and of its derivative; inputs are normal with this deviation.
struct SiluRows {
  static constexpr int kDeviation = 20;
  template <class T>
  static constexpr auto forward = &PointwiseKernels<T>::silu_forward;
  template <class T>
  static constexpr auto backward = &PointwiseKernels<T>::silu_backward;
};
struct GeluTanhRows {
  static constexpr int kDeviation = 3;
  template <class T>
  static constexpr auto forward = &PointwiseKernels<T>::gelu_tanh_forward;
  template <class T>
  static constexpr auto backward = &PointwiseKernels<T>::gelu_tanh_backward;
};

template <class Rows, class Place, class T>
void expect_activation(index n) {
  SCOPED_TRACE(n);
  const auto x = scaled(numbers<T>(n, 1), T{Rows::kDeviation}), dy = numbers<T>(n, 2);
  std::vector<double> y(x.size()), dx(x.size());
  Kernels<double> plain;
  reference::fill_all(plain);
  (plain.*Rows::template forward<double>)(n, as_double(x).data(), y.data());
  (plain.*Rows::template backward<double>)(n, as_double(x).data(), as_double(dy).data(), dx.data());
  const typename Place::template Input<T> in_x(x), in_dy(dy);
  typename Place::template Output<T> got_y(n), got_dx(n);
  const Kernels<T>& kernels = Place::template kernels<T>();
  (kernels.*Rows::template forward<T>)(n, in_x.data(), got_y.data());
  (kernels.*Rows::template backward<T>)(n, in_x.data(), in_dy.data(), got_dx.data());
  expect_close(got_y, y, "y");
  expect_close(got_dx, dx, "dx");
}

template <class Rows, class Place, class T>
void expect_activation_of_extreme_inputs() {
  const T huge = std::numeric_limits<T>::max();
  const std::vector<T> x = {0, -0.0, 1e4, -1e4, huge, -huge, static_cast<T>(NAN), 89, -89, 700};
  const index n = std::ssize(x);
  const typename Place::template Input<T> in(x), dy(std::vector<T>(x.size(), T{1}));
  typename Place::template Output<T> y(n), dx(n);
  const Kernels<T>& kernels = Place::template kernels<T>();
  (kernels.*Rows::template forward<T>)(n, in.data(), y.data());
  (kernels.*Rows::template backward<T>)(n, in.data(), dy.data(), dx.data());
  const std::vector<T> got = y.values(), slopes = dx.values();
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      EXPECT_TRUE(std::isnan(got[i]) && std::isnan(slopes[i]));
      continue;
    }
    EXPECT_NEAR(got[i], x[i] > 0 ? x[i] : 0, 1e-30) << x[i];
    EXPECT_NEAR(slopes[i], x[i] == 0 ? 0.5 : x[i] > 0 ? 1 : 0, 1e-6) << x[i];
  }
}

template <class Place, class T>
void expect_softmax(index cols) {
  SCOPED_TRACE(cols);
  const index rows = cols > 1000 ? 1 : 5, n = rows * cols;
  const auto x = scaled(numbers<T>(n, 1), T{10}), dy = numbers<T>(n, 2);
  std::vector<double> y(x.size()), dx(x.size());
  reference::softmax_forward(rows, cols, as_double(x).data(), y.data());
  reference::softmax_backward(rows, cols, y.data(), as_double(dy).data(), dx.data());
  const typename Place::template Input<T> in_x(x), in_dy(dy);
  typename Place::template Output<T> got_y(n), got_dx(n);
  Place::template kernels<T>().softmax_forward(rows, cols, in_x.data(), got_y.data());
  Place::template kernels<T>().softmax_backward(rows, cols, got_y.data(), in_dy.data(),
                                                got_dx.data());
  expect_close(got_y, y, "y");
  if (cols > 1) expect_close(got_dx, dx, "dx");
}

template <class Place, class T>
void expect_softmax_masked_and_nan() {
  constexpr index kCols = 19;
  std::vector<T> x(3 * kCols, T{1});
  for (index i = 0; i < kCols; i += 2) x[i] = -static_cast<T>(INFINITY);
  for (index i = 0; i < kCols; ++i) x[kCols + i] = std::numeric_limits<T>::lowest();
  x[2 * kCols + 7] = static_cast<T>(NAN);
  const typename Place::template Input<T> in(x);
  typename Place::template Output<T> got(3 * kCols);
  Place::template kernels<T>().softmax_forward(3, kCols, in.data(), got.data());
  const std::vector<T> y = got.values();
  for (index i = 0; i < kCols; ++i) {
    EXPECT_NEAR(y[i], i % 2 ? 1.0 / 9 : 0, 1e-7);
    EXPECT_NEAR(y[kCols + i], 1.0 / kCols, 1e-7);
    EXPECT_TRUE(std::isnan(y[2 * kCols + i]));
  }
}

template <class Place, class T>
void expect_sum_rows(index outer, index rows, index cols) {
  SCOPED_TRACE(std::to_string(outer) + " x " + std::to_string(rows) + " x " + std::to_string(cols));
  auto x = numbers<T>(outer * rows * cols, 1);
  for (T& v : x) v += 1;
  std::vector<double> sum(static_cast<std::size_t>(outer * cols));
  reference::sum_rows(outer, rows, cols, as_double(x).data(), sum.data());
  const typename Place::template Input<T> in(x);
  typename Place::template Output<T> got(outer * cols);
  Place::template kernels<T>().sum_rows(outer, rows, cols, in.data(), got.data());
  expect_close(got, sum, "sum");
}

template <class Place, class T>
void expect_sums(index n) {
  SCOPED_TRACE(n);
  const auto x = numbers<T>(n, 1);
  double sum = 0, squares = 0;
  reference::sum(n, x.data(), &sum);
  reference::sum_of_squares(n, x.data(), &squares);
  const typename Place::template Input<T> in(x);
  typename Place::template Output<double> got(1);
  Place::template kernels<T>().sum(n, in.data(), got.data());
  EXPECT_NEAR(got.values()[0], sum, 1e-12 * static_cast<double>(n));
  Place::template kernels<T>().sum_of_squares(n, in.data(), got.data());
  EXPECT_NEAR(got.values()[0], squares, 1e-12 * static_cast<double>(n));
}

// Between rows that are further apart than their columns: the last columns of x, then as many zeros, ...
template <class Place, class T>
void expect_copy_columns(index cols, index count) {
  SCOPED_TRACE(::testing::Message() << count << " times " << cols);
  const index rows = 7, from_step = cols + 2, to_step = count * cols + 3;
  const auto x = numbers<T>(rows * from_step, 1);
  const typename Place::template Input<T> from(x);
  typename Place::template Output<T> to(rows * to_step);
  std::vector<Columns<T>> parts;
  for (index k = 0; k < count; ++k)
    parts.push_back({.cols = cols,
                     .from = k % 2 == 0 ? from.data() + 2 : nullptr,
                     .from_step = from_step,
                     .to = to.data() + k * cols,
                     .to_step = to_step});
  Place::template kernels<T>().copy_columns(rows, parts);
  const std::vector<T> got = to.values();
  for (index r = 0; r < rows; ++r)
    for (index j = 0; j < to_step; ++j) {
      const T y = got[r * to_step + j];
      const T copied = j / cols % 2 == 0 ? x[r * from_step + 2 + j % cols] : T(0);
      EXPECT_TRUE(j < count * cols ? y == copied : std::isnan(y)) << r << ", " << j;
    }
}

}  // namespace sfumato::kernels::testing
