#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

struct Form {
  bool ta, tb, accumulate, with_bias = false;
};

template <class T>
void check(index m, index n, index k, Form form, index gap) {
  const bool ta = form.ta, tb = form.tb, accumulate = form.accumulate;
  SCOPED_TRACE("m n k ta tb acc gap: " + std::to_string(m) + " " + std::to_string(n) + " " +
               std::to_string(k) + " " + std::to_string(ta) + std::to_string(tb) +
               std::to_string(accumulate) + " " + std::to_string(gap));
  const index rows_a = ta ? k : m, cols_a = ta ? m : k, rows_b = tb ? n : k, cols_b = tb ? k : n;
  const index lda = cols_a + gap, ldb = cols_b + gap, ldc = n + gap;
  // The last row ends with its last element, not with its gap.
  const auto a = numbers<T>((rows_a - 1) * lda + cols_a, 1);
  const auto b = numbers<T>((rows_b - 1) * ldb + cols_b, 2);
  const auto bias = numbers<T>(n, 4);
  const index c_size = (m - 1) * ldc + n;
  const auto before = numbers<T>(c_size, 3);
  const auto product = [&]<class U>(const std::vector<U>& in_a, const std::vector<U>& in_b,
                                    const std::vector<U>& in_bias, U* to) {
    return Gemm<U>{.m = m,
                   .n = n,
                   .k = k,
                   .transpose_a = ta,
                   .transpose_b = tb,
                   .accumulate = accumulate,
                   .a = in_a.data(),
                   .b = in_b.data(),
                   .c = to,
                   .lda = gap ? lda : 0,
                   .ldb = gap ? ldb : 0,
                   .ldc = gap ? ldc : 0,
                   .bias = form.with_bias ? in_bias.data() : nullptr};
  };
  Guarded<T> c(c_size);
  std::copy(before.begin(), before.end(), c.data());
  auto expected = as_double(before);
  reference::gemm(product(as_double(a), as_double(b), as_double(bias), expected.data()));
  table<T>().gemm(product(a, b, bias, c.data()));
  expect_close(c, expected, "C");
  for (index i = 0; i < c_size; ++i) {
    if (i % ldc < n) continue;
    ASSERT_EQ(c.data()[i], before[i]) << "written between rows";
  }
}

TEST(GemmKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        for (const bool accumulate : {false, true}) {
          for (const index m : {1, 2, 7, 33}) {
            for (const index n : {1, 3, 16, 17, 40}) {
              for (const index k : {1, 5, 16, 31}) check<T>(m, n, k, {ta, tb, accumulate}, 0);
            }
          }
          check<T>(20, 33, 2100, {ta, tb, accumulate}, 3);
          check<T>(5, 16, 5000, {ta, tb, accumulate}, 0);
          check<T>(130, 100, 70, {ta, tb, accumulate}, 1);
        }
      }
    }
  });
}

TEST(GemmKernel, AddsABiasToEveryRow) {
  for_every_isa([]<class T>() {
    for (const bool tb : {false, true}) {
      for (const index n : {1, 7, 16, 40}) {
        for (const index k : {1, 5, 64, 2100}) check<T>(33, n, k, {false, tb, false, true}, n % 2);
      }
    }
    check<T>(5000, 192, 16, {false, true, false, true}, 0);  // large enough to be streamed
  });
}

TEST(GemmKernel, SumsColumnsOfATransposedOne) {
  for_every_isa([]<class T>() {
    for (const index m : {1, 5, 16, 40, 130}) {
      for (const index n : {1, 33, 150}) {
        for (const index k : {0, 1, 127, 129, 5000}) {
          SCOPED_TRACE("m n k: " + std::to_string(m) + " " + std::to_string(n) + " " +
                       std::to_string(k));
          const index lda = m + 3;
          const auto a = numbers<T>(k * lda, 1), b = numbers<T>(k * n, 2);
          const auto product = [&]<class U>(const std::vector<U>& in_a, const std::vector<U>& in_b,
                                            index columns, U* to, U* column_sums) {
            return Gemm<U>{.m = m,
                           .n = columns,
                           .k = k,
                           .transpose_a = true,
                           .a = in_a.data(),
                           .b = in_b.data(),
                           .c = to,
                           .lda = lda,
                           .sums = column_sums};
          };
          std::vector<double> nothing, expected(m);
          reference::gemm(product(as_double(a), as_double(b), 0, nothing.data(), expected.data()));
          Guarded<T> c(m * n), sums(m);
          table<T>().gemm(product(a, b, n, c.data(), sums.data()));
          expect_close(sums, expected, "sums");
        }
      }
    }
  });
}

TEST(GemmKernel, EmptySum) {
  for_every_isa([]<class T>() {
    for (const bool ta : {false, true}) {
      Guarded<T> c(15);
      Gemm<T> g{
          .m = 3, .n = 5, .k = 0, .transpose_a = ta, .a = nullptr, .b = nullptr, .c = c.data()};
      table<T>().gemm(g);
      EXPECT_EQ(c.values(), std::vector<T>(15, T{0}));
      const std::vector<T> bias(5, T{3});
      if (!ta) {
        g.bias = bias.data();
        table<T>().gemm(g);
        g.bias = nullptr;
        EXPECT_EQ(c.values(), std::vector<T>(15, T{3}));
      }
      g.accumulate = true;
      std::fill(c.data(), c.data() + 15, T{2});
      table<T>().gemm(g);
      EXPECT_EQ(c.values(), std::vector<T>(15, T{2}));
    }
  });
}

TEST(GemmKernel, SameBitsOnAnyNumberOfThreads) {
  for_every_isa([]<class T>() {
    const auto a = numbers<T>(64 * 5000, 1), b = numbers<T>(5000 * 48, 2);
    for (const bool ta : {false, true}) {
      expect_same_on_any_threads([&] {
        Guarded<T> c(64 * 48), sums(64);
        table<T>().gemm({.m = 64,
                         .n = 48,
                         .k = 5000,
                         .transpose_a = ta,
                         .a = a.data(),
                         .b = b.data(),
                         .c = c.data(),
                         .sums = ta ? sums.data() : nullptr});
        std::vector<T> all = c.values();
        if (ta) append(all, sums);
        return all;
      });
    }
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
