#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

template <class T>
void check(index m, index n, index k, bool ta, bool tb, bool accumulate, index gap,
           bool with_bias = false) {
  SCOPED_TRACE("m n k ta tb acc gap: " + std::to_string(m) + " " + std::to_string(n) + " " +
               std::to_string(k) + " " + std::to_string(ta) + std::to_string(tb) +
               std::to_string(accumulate) + " " + std::to_string(gap));
  const index rows_a = ta ? k : m, cols_a = ta ? m : k, rows_b = tb ? n : k, cols_b = tb ? k : n;
  const Gemm g{m, n, k, ta, tb, accumulate, cols_a + gap, cols_b + gap, n + gap};
  // The last row ends with its last element, not with its gap.
  const auto a = numbers<T>((rows_a - 1) * g.lda + cols_a, 1);
  const auto b = numbers<T>((rows_b - 1) * g.ldb + cols_b, 2);
  const auto bias = numbers<T>(n, 4);
  const index c_size = (m - 1) * g.ldc + n;
  const auto before = numbers<T>(c_size, 3);
  Guarded<T> c(c_size);
  std::copy(before.begin(), before.end(), c.data());
  auto expected = as_double(before);
  for (index i = 0; i < m; ++i) {
    for (index j = 0; j < n; ++j) {
      double sum = accumulate ? static_cast<double>(before[i * g.ldc + j]) : 0;
      if (with_bias) sum += static_cast<double>(bias[j]);
      for (index p = 0; p < k; ++p) {
        sum += static_cast<double>(a[ta ? p * g.lda + i : i * g.lda + p]) *
               static_cast<double>(b[tb ? j * g.ldb + p : p * g.ldb + j]);
      }
      expected[i * g.ldc + j] = sum;
    }
  }
  gemm(g, a.data(), b.data(), c.data(), with_bias ? bias.data() : nullptr);
  expect_close(c, expected, "C");
  for (index i = 0; i < c_size; ++i) {
    if (i % g.ldc < n) continue;
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
              for (const index k : {1, 5, 16, 31}) check<T>(m, n, k, ta, tb, accumulate, 0);
            }
          }
          check<T>(20, 33, 2100, ta, tb, accumulate, 3);
          check<T>(5, 16, 5000, ta, tb, accumulate, 0);
          check<T>(130, 100, 70, ta, tb, accumulate, 1);
        }
      }
    }
  });
}

TEST(GemmKernel, AddsABiasToEveryRow) {
  for_every_isa([]<class T>() {
    for (const bool tb : {false, true}) {
      for (const index n : {1, 7, 16, 40}) {
        for (const index k : {1, 5, 64, 2100}) check<T>(33, n, k, false, tb, false, n % 2, true);
      }
    }
    check<T>(5000, 192, 16, false, true, false, 0, true);  // large enough to be streamed
  });
}

TEST(GemmKernel, SumsColumnsOfATransposedOne) {
  for_every_isa([]<class T>() {
    for (const index m : {1, 5, 16, 40, 130}) {
      for (const index n : {1, 33, 300}) {
        for (const index k : {0, 1, 127, 129, 5000}) {
          SCOPED_TRACE("m n k: " + std::to_string(m) + " " + std::to_string(n) + " " +
                       std::to_string(k));
          const index lda = m + 3;
          const auto a = numbers<T>(k * lda, 1), b = numbers<T>(k * n, 2);
          std::vector<double> expected(m);
          for (index i = 0; i < m; ++i) {
            for (index p = 0; p < k; ++p) expected[i] += static_cast<double>(a[p * lda + i]);
          }
          Guarded<T> c(m * n), sums(m);
          const Gemm g{m, n, k, true, false, false, lda, n, n};
          gemm<T>(g, a.data(), b.data(), c.data(), nullptr, sums.data());
          expect_close(sums, expected, "sums");
        }
      }
    }
  });
}

TEST(GemmKernel, EmptySum) {
  for_every_isa([]<class T>() {
    for (const bool ta : {false, true}) {
      Gemm g{3, 5, 0, ta, false, false, 3, 5, 5};
      Guarded<T> c(15);
      gemm<T>(g, nullptr, nullptr, c.data());
      EXPECT_EQ(c.values(), std::vector<T>(15, T{0}));
      const std::vector<T> bias(5, T{3});
      if (!ta) {
        gemm<T>(g, nullptr, nullptr, c.data(), bias.data());
        EXPECT_EQ(c.values(), std::vector<T>(15, T{3}));
      }
      g.accumulate = true;
      std::fill(c.data(), c.data() + 15, T{2});
      gemm<T>(g, nullptr, nullptr, c.data());
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
        const Gemm g{64, 48, 5000, ta, false, false, ta ? 64 : 5000, 48, 48};
        gemm<T>(g, a.data(), b.data(), c.data(), nullptr, ta ? sums.data() : nullptr);
        std::vector<T> all = c.values();
        if (ta) append(all, sums);
        return all;
      });
    }
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
