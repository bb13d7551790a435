#include <fmt/format.h>

#include <limits>

#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

const index kLengths[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100, 40001};

TEST(SiluKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index n : kLengths) {
      SCOPED_TRACE(n);
      auto x = numbers<T>(n, 1);
      for (T& v : x) v *= 20;
      const auto dy = numbers<T>(n, 2);
      std::vector<double> y(n), dx(n);
      reference::silu_forward(n, as_double(x).data(), y.data());
      reference::silu_backward(n, as_double(x).data(), as_double(dy).data(), dx.data());
      Guarded<T> got_y(n), got_dx(n);
      table<T>().silu_forward(n, x.data(), got_y.data());
      table<T>().silu_backward(n, x.data(), dy.data(), got_dx.data());
      expect_close(got_y, y, "y");
      expect_close(got_dx, dx, "dx");
    }
  });
}

TEST(SiluKernel, ExtremeInputs) {
  for_every_isa([]<class T>() {
    const T huge = std::numeric_limits<T>::max();
    const std::vector<T> x = {0, -0.0, 1e4, -1e4, huge, -huge, static_cast<T>(NAN), 89, -89, 700};
    const std::vector<T> dy(x.size(), T{1});
    Guarded<T> y(x.size()), dx(x.size());
    table<T>().silu_forward(static_cast<index>(x.size()), x.data(), y.data());
    table<T>().silu_backward(static_cast<index>(x.size()), x.data(), dy.data(), dx.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i])) {
        EXPECT_TRUE(std::isnan(y.data()[i]) && std::isnan(dx.data()[i]));
        continue;
      }
      EXPECT_NEAR(y.data()[i], x[i] > 0 ? x[i] : 0, 1e-30) << x[i];
      EXPECT_NEAR(dx.data()[i], x[i] == 0 ? 0.5 : x[i] > 0 ? 1 : 0, 1e-6) << x[i];
    }
  });
}

// softmax of (0, x) is (1, e^x) / (1 + e^x): the exponential on its own, number by number.
TEST(SoftmaxKernel, ExponentialIsAccurate) {
  for_every_isa([]<class T>() {
    double worst = 0;
    for (double v = 0; v > -87; v -= 0.0037) {
      const T x[2] = {0, static_cast<T>(v)};
      Guarded<T> y(2);
      table<T>().softmax_forward(1, 2, x, y.data());
      const double e = std::exp(static_cast<double>(x[1]));
      worst = std::max(worst, std::abs(y.data()[1] / (e / (1 + e)) - 1));
    }
    EXPECT_LT(worst, by_type<T>(5e-7, 1e-15));
  });
}

TEST(SoftmaxKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index cols : kLengths) {
      const index rows = cols > 1000 ? 1 : 5;
      SCOPED_TRACE(cols);
      auto x = numbers<T>(rows * cols, 1);
      for (T& v : x) v *= 10;
      const auto dy = numbers<T>(rows * cols, 2);
      std::vector<double> y(x.size()), dx(x.size());
      reference::softmax_forward(rows, cols, as_double(x).data(), y.data());
      reference::softmax_backward(rows, cols, y.data(), as_double(dy).data(), dx.data());
      Guarded<T> got_y(x.size()), got_dx(x.size());
      table<T>().softmax_forward(rows, cols, x.data(), got_y.data());
      table<T>().softmax_backward(rows, cols, got_y.data(), dy.data(), got_dx.data());
      expect_close(got_y, y, "y");
      if (cols > 1) expect_close(got_dx, dx, "dx");
    }
  });
}

TEST(SoftmaxKernel, MaskedAndNan) {
  for_every_isa([]<class T>() {
    constexpr index kCols = 19;
    std::vector<T> x(3 * kCols, T{1});
    for (index i = 0; i < kCols; i += 2) x[i] = -static_cast<T>(INFINITY);
    for (index i = 0; i < kCols; ++i) x[kCols + i] = std::numeric_limits<T>::lowest();
    x[2 * kCols + 7] = static_cast<T>(NAN);
    Guarded<T> y(3 * kCols);
    table<T>().softmax_forward(3, kCols, x.data(), y.data());
    for (index i = 0; i < kCols; ++i) {
      EXPECT_NEAR(y.data()[i], i % 2 ? 1.0 / 9 : 0, 1e-7);
      EXPECT_NEAR(y.data()[kCols + i], 1.0 / kCols, 1e-7);
      EXPECT_TRUE(std::isnan(y.data()[2 * kCols + i]));
    }
  });
}

TEST(SumRowsKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index outer : {1, 3}) {
      for (const index cols : {1, 2, 3, 8, 15, 16, 17, 33, 64}) {
        for (const index rows : {0, 1, 2, 31, 100, 5000}) {
          SCOPED_TRACE(fmt::format("{} x {} x {}", outer, rows, cols));
          auto x = numbers<T>(outer * rows * cols, 1);
          for (T& v : x) v += 1;
          std::vector<double> sum(outer * cols);
          reference::sum_rows(outer, rows, cols, as_double(x).data(), sum.data());
          Guarded<T> got(outer * cols);
          table<T>().sum_rows(outer, rows, cols, x.data(), got.data());
          expect_close(got, sum, "sum");
        }
      }
    }
  });
}

TEST(SumKernels, MatchTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index n : {0, 1, 7, 16384, 16385, 100003}) {
      SCOPED_TRACE(n);
      const auto x = numbers<T>(n, 1);
      double expected = 0, got = 0;
      reference::sum(n, x.data(), &expected);
      table<T>().sum(n, x.data(), &got);
      EXPECT_NEAR(got, expected, 1e-12 * static_cast<double>(n));
      reference::sum_of_squares(n, x.data(), &expected);
      table<T>().sum_of_squares(n, x.data(), &got);
      EXPECT_NEAR(got, expected, 1e-12 * static_cast<double>(n));
    }
  });
}

TEST(PointwiseKernels, SameBitsOnAnyNumberOfThreads) {
  for_every_isa([]<class T>() {
    const index rows = 3001, cols = 33;
    const auto x = numbers<T>(rows * cols, 1);
    expect_same_on_any_threads([&] {
      Guarded<T> sum(cols), y(x.size()), z(x.size());
      table<T>().sum_rows(1, rows, cols, x.data(), sum.data());
      table<T>().softmax_forward(rows, cols, x.data(), y.data());
      table<T>().silu_forward(rows * cols, x.data(), z.data());
      Guarded<double> total(1);
      table<T>().sum(rows * cols, x.data(), total.data());
      std::vector<T> all;
      append(all, sum), append(all, y), append(all, z);
      all.push_back(static_cast<T>(total.data()[0]));
      return all;
    });
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
