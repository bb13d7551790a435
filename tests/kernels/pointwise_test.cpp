#include "tests/kernels/pointwise_cases.h"

namespace sfumato::kernels::testing {
namespace {

const index kLengths[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100, 40001};

struct Host {
  template <class T>
  using Input = std::vector<T>;
  template <class T>
  using Output = Guarded<T>;
  template <class T>
  static const Kernels<T>& kernels() {
    return table<T>();
  }
};

TEST(SiluKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index n : kLengths) expect_activation<SiluRows, Host, T>(n);
  });
}

TEST(SiluKernel, ExtremeInputs) {
  for_every_isa([]<class T>() { expect_activation_of_extreme_inputs<SiluRows, Host, T>(); });
}

TEST(GeluTanhKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index n : kLengths) expect_activation<GeluTanhRows, Host, T>(n);
  });
}

TEST(GeluTanhKernel, ExtremeInputs) {
  for_every_isa([]<class T>() { expect_activation_of_extreme_inputs<GeluTanhRows, Host, T>(); });
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
    for (const index cols : kLengths) expect_softmax<Host, T>(cols);
  });
}

TEST(SoftmaxKernel, MaskedAndNan) {
  for_every_isa([]<class T>() { expect_softmax_masked_and_nan<Host, T>(); });
}

TEST(SumRowsKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index outer : {1, 3})
      for (const index cols : {1, 2, 3, 8, 15, 16, 17, 33, 64})
        for (const index rows : {0, 1, 2, 31, 100, 5000})
          expect_sum_rows<Host, T>(outer, rows, cols);
  });
}

TEST(SumKernels, MatchTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index n : {0, 1, 7, 16384, 16385, 100003}) expect_sums<Host, T>(n);
  });
}

TEST(CopyColumnsKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index count : {1, 3, 40})
      for (const index cols : {1, 5, 200}) expect_copy_columns<Host, T>(cols, count);
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
