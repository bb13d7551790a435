#include "tests/cuda/kernel_test.h"
#include "tests/kernels/gemm_cases.h"

namespace sfumato::kernels::testing {
namespace {

class DeviceGemm : public DeviceTest {};

TEST_F(DeviceGemm, MatchesTheDefinition) {
  for_every_type_and_bf16([]<class T>() {
    for (const GemmCase& s : gemm_cases()) {
      SCOPED_TRACE(describe(s));
      const GemmOperands<T> in(s);
      const GemmOperands<T, OnDevice> there(in);
      OnDevice<T> c(s.c_size());
      c.set(in.before);
      gpu<T>().gemm(product_of<T>(s, there, c.data()));
      expect_close(c, reference_of(s, in), "C", slack_of<T>());
      OnDevice<Wide<T>> wide(s.c_size());
      wide.set({in.before.begin(), in.before.end()});
      gpu<T>().gemm_wide(product_of<T>(s, there, wide.data()));
      expect_close(wide, reference_of(s, in), "wide C", s.bias ? slack_of<T>() : 1);
    }
  });
}

TEST_F(DeviceGemm, SumsColumnsOfATransposedOne) {
  for_every_type([]<class T>() {
    for (const index k : {0, 1, 129, 5000}) {
      SCOPED_TRACE(k);
      const index m = 40, n = 33;
      const auto a = numbers<T>(k * m, 1), b = numbers<T>(k * n, 2);
      std::vector<double> c(m * n), sums(m);
      const auto exact_a = as_double(a), exact_b = as_double(b);
      reference::gemm<double>({.m = m,
                               .n = n,
                               .k = k,
                               .transpose_a = true,
                               .a = exact_a.data(),
                               .b = exact_b.data(),
                               .c = c.data(),
                               .sums = sums.data()});
      const OnDevice<T> there_a(a), there_b(b), got(m * n), got_sums(m);
      gpu<T>().gemm({.m = m,
                     .n = n,
                     .k = k,
                     .transpose_a = true,
                     .a = there_a.data(),
                     .b = there_b.data(),
                     .c = got.data(),
                     .sums = got_sums.data()});
      expect_close(got, c, "C");
      expect_close(got_sums, sums, "sums");
    }
  });
}

// 2⁻¹² of each factor is rounded away, and only if that is allowed.
TEST_F(DeviceGemm, Tf32) {
  const GemmCase s{33, 40, 200, false, true, false};
  const GemmOperands<float> in(s);
  const GemmOperands<float, OnDevice> there(in);
  const auto error = [&](bool allow) {
    const OnDevice<float> c(s.c_size());
    backend(Device::cuda).allow_tf32(allow);
    gpu<float>().gemm(product_of<float>(s, there, c.data()));
    backend(Device::cuda).allow_tf32(false);
    return distance(c.values().data(), reference_of(s, in));
  };
  EXPECT_LT(error(false), 2e-6);
  EXPECT_LT(error(true), 1e-3);
  EXPECT_GT(error(true), 2e-5);
}

TEST_F(DeviceGemm, EmptySum) {
  for_every_type([]<class T>() {
    const OnDevice<T> c(15), bias(std::vector<T>(5, T{3}));
    Gemm<T> g{.m = 3, .n = 5, .k = 0, .a = nullptr, .b = nullptr, .c = c.data()};
    gpu<T>().gemm(g);
    EXPECT_EQ(c.values(), std::vector<T>(15, T{0}));
    g.accumulate = true;
    gpu<T>().gemm(g);
    EXPECT_EQ(c.values(), std::vector<T>(15, T{0}));
    g.accumulate = false, g.bias = bias.data();
    gpu<T>().gemm(g);
    EXPECT_EQ(c.values(), std::vector<T>(15, T{3}));
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
