#include "tests/kernels/gemm_cases.h"

namespace sfumato::kernels::testing {
namespace {

template <class T>
void check(const GemmCase& s) {
  SCOPED_TRACE(describe(s));
  const GemmOperands<T> in(s);
  Guarded<T> c(s.c_size());
  std::copy(in.before.begin(), in.before.end(), c.data());
  table<T>().gemm(product_of<T>(s, in, c.data()));
  expect_close(c, reference_of(s, in), "C");
  for (index i = 0; i < s.c_size(); ++i) {
    if (i % s.ldc() < s.n) continue;
    ASSERT_EQ(c.data()[i], in.before[i]) << "written between rows";
  }
}

TEST(GemmKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const GemmCase& s : gemm_cases()) check<T>(s);
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
