#include <limits>

#include "tests/cuda/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

class DevicePointwise : public DeviceTest {};

TEST_F(DevicePointwise, Silu) {
  for_every_type([]<class T>() {
    for (const index n : {1, 33, 40001}) {
      SCOPED_TRACE(n);
      auto x = numbers<T>(n, 1);
      for (T& v : x) v *= 20;
      const auto dy = numbers<T>(n, 2);
      std::vector<double> y(n), dx(n);
      reference::silu_forward(n, as_double(x).data(), y.data());
      reference::silu_backward(n, as_double(x).data(), as_double(dy).data(), dx.data());
      const OnDevice<T> there_x(x), there_dy(dy), got_y(n), got_dx(n);
      gpu<T>().silu_forward(n, there_x.data(), got_y.data());
      gpu<T>().silu_backward(n, there_x.data(), there_dy.data(), got_dx.data());
      expect_close(got_y, y, "y");
      expect_close(got_dx, dx, "dx");
    }
  });
}

TEST_F(DevicePointwise, SiluOfExtremeInputs) {
  for_every_type([]<class T>() {
    const T huge = std::numeric_limits<T>::max();
    const std::vector<T> x = {0, -0.0, 1e4, -1e4, huge, -huge, static_cast<T>(NAN), 89, -89, 700};
    const index n = std::ssize(x);
    const OnDevice<T> there(x), dy(std::vector<T>(x.size(), T{1})), y(n), dx(n);
    gpu<T>().silu_forward(n, there.data(), y.data());
    gpu<T>().silu_backward(n, there.data(), dy.data(), dx.data());
    for (index i = 0; i < n; ++i) {
      const T got = y.values()[i], slope = dx.values()[i];
      if (std::isnan(x[i])) {
        EXPECT_TRUE(std::isnan(got) && std::isnan(slope));
        continue;
      }
      EXPECT_NEAR(got, x[i] > 0 ? x[i] : 0, 1e-30) << x[i];
      EXPECT_NEAR(slope, x[i] == 0 ? 0.5 : x[i] > 0 ? 1 : 0, 1e-6) << x[i];
    }
  });
}

TEST_F(DevicePointwise, Softmax) {
  for_every_type([]<class T>() {
    for (const index cols : {1, 2, 17, 33, 100, 40001}) {
      const index rows = cols > 1000 ? 1 : 5;
      SCOPED_TRACE(cols);
      auto x = numbers<T>(rows * cols, 1);
      for (T& v : x) v *= 10;
      const auto dy = numbers<T>(rows * cols, 2);
      std::vector<double> y(x.size()), dx(x.size());
      reference::softmax_forward(rows, cols, as_double(x).data(), y.data());
      reference::softmax_backward(rows, cols, y.data(), as_double(dy).data(), dx.data());
      const OnDevice<T> there_x(x), there_dy(dy), got_y(rows * cols), got_dx(rows * cols);
      gpu<T>().softmax_forward(rows, cols, there_x.data(), got_y.data());
      gpu<T>().softmax_backward(rows, cols, got_y.data(), there_dy.data(), got_dx.data());
      expect_close(got_y, y, "y");
      if (cols > 1) expect_close(got_dx, dx, "dx");
    }
  });
}

TEST_F(DevicePointwise, SoftmaxMaskedAndNan) {
  for_every_type([]<class T>() {
    constexpr index kCols = 19;
    std::vector<T> x(3 * kCols, T{1});
    for (index i = 0; i < kCols; i += 2) x[i] = -static_cast<T>(INFINITY);
    for (index i = 0; i < kCols; ++i) x[kCols + i] = std::numeric_limits<T>::lowest();
    x[2 * kCols + 7] = static_cast<T>(NAN);
    const OnDevice<T> there(x), got(3 * kCols);
    gpu<T>().softmax_forward(3, kCols, there.data(), got.data());
    const auto y = got.values();
    for (index i = 0; i < kCols; ++i) {
      EXPECT_NEAR(y[i], i % 2 ? 1.0 / 9 : 0, 1e-7);
      EXPECT_NEAR(y[kCols + i], 1.0 / kCols, 1e-7);
      EXPECT_TRUE(std::isnan(y[2 * kCols + i]));
    }
  });
}

TEST_F(DevicePointwise, SumRows) {
  for_every_type([]<class T>() {
    for (const index outer : {1, 3}) {
      for (const index cols : {1, 3, 32, 33, 70}) {
        for (const index rows : {0, 1, 31, 512, 513, 5000}) {
          SCOPED_TRACE(std::to_string(outer) + " x " + std::to_string(rows) + " x " +
                       std::to_string(cols));
          auto x = numbers<T>(outer * rows * cols, 1);
          for (T& v : x) v += 1;
          std::vector<double> sum(outer * cols);
          reference::sum_rows(outer, rows, cols, as_double(x).data(), sum.data());
          const OnDevice<T> there(x), got(outer * cols);
          gpu<T>().sum_rows(outer, rows, cols, there.data(), got.data());
          expect_close(got, sum, "sum");
        }
      }
    }
  });
}

TEST_F(DevicePointwise, Sums) {
  for_every_type([]<class T>() {
    for (const index n : {0, 1, 100, 8192, 100'003}) {
      SCOPED_TRACE(n);
      const auto x = numbers<T>(n, 1);
      std::vector<double> sum(1), squares(1);
      for (const T v : x) sum[0] += v, squares[0] += static_cast<double>(v) * v;
      const OnDevice<T> there(x);
      const OnDevice<double> got(1);
      gpu<T>().sum(n, there.data(), got.data());
      expect_close(got, sum, "sum", 100);  // added one by one, the expected sums round more
      gpu<T>().sum_of_squares(n, there.data(), got.data());
      expect_close(got, squares, "sum of squares", 100);
    }
  });
}

TEST_F(DevicePointwise, CopyRows) {
  for_every_type([]<class T>() {
    for (const index cols : {1, 5, 200}) {
      const index rows = 7, from_step = cols + 2, to_step = cols + 3;
      const auto x = numbers<T>(rows * from_step, 1);
      auto expected = numbers<T>(rows * to_step, 2);
      const OnDevice<T> from(x), to(expected);
      for (index i = 0; i < rows * cols; ++i)
        expected[i / cols * to_step + i % cols] = x[i / cols * from_step + i % cols];
      gpu<T>().copy_rows(rows, cols, from.data(), from_step, to.data(), to_step);
      EXPECT_EQ(to.values(), expected);
    }
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
