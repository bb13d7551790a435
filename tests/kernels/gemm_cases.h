// Matrix products: sizes, operands, and what the reference makes of them.
#pragma once
#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {

// Rows of all matrices are `gap` elements apart; the last row ends with its last element.
struct GemmCase {
  index m, n, k;
  bool transpose_a, transpose_b, accumulate, bias = false;
  index gap = 0;

  index rows_a() const { return transpose_a ? k : m; }
  index rows_b() const { return transpose_b ? n : k; }
  index lda() const { return (transpose_a ? m : k) + gap; }
  index ldb() const { return (transpose_b ? k : n) + gap; }
  index ldc() const { return n + gap; }
  index a_size() const { return rows_a() * lda() - gap; }
  index b_size() const { return rows_b() * ldb() - gap; }
  index c_size() const { return m * ldc() - gap; }
};

inline std::string describe(const GemmCase& s) {
  std::string text = "m n k ta tb acc bias gap: ";
  for (const index i : {s.m, s.n, s.k, index{s.transpose_a}, index{s.transpose_b},
                        index{s.accumulate}, index{s.bias}, s.gap})
    text += std::to_string(i) + " ";
  return text;
}

inline std::vector<GemmCase> gemm_cases() {
  std::vector<GemmCase> all;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      for (const bool accumulate : {false, true}) {
        for (const index m : {1, 2, 7, 33}) {
          for (const index n : {1, 3, 16, 17, 40}) {
            for (const index k : {1, 5, 16, 31}) all.push_back({m, n, k, ta, tb, accumulate});
          }
        }
        all.push_back({20, 33, 2100, ta, tb, accumulate, false, 3});
        all.push_back({5, 16, 5000, ta, tb, accumulate});
        all.push_back({130, 100, 70, ta, tb, accumulate, false, 1});
      }
    }
  }
  for (const bool tb : {false, true}) {
    for (const index n : {1, 7, 16, 40}) {
      for (const index k : {1, 5, 64, 2100})
        all.push_back({33, n, k, false, tb, false, true, n % 2});
    }
  }
  all.push_back({5000, 192, 16, false, true, false, true});  // large enough to be streamed
  return all;
}

template <class T, template <class...> class Array = std::vector>
struct GemmOperands {
  explicit GemmOperands(const GemmCase& s)
      : a(numbers<T>(s.a_size(), 1)),
        b(numbers<T>(s.b_size(), 2)),
        before(numbers<T>(s.c_size(), 3)),
        bias(numbers<Wide<T>>(s.n, 4)) {}
  // The same numbers in another type, or elsewhere.
  template <class U>
  explicit GemmOperands(const GemmOperands<U>& other)
      : a(other.a.begin(), other.a.end()),
        b(other.b.begin(), other.b.end()),
        before(other.before.begin(), other.before.end()),
        bias(other.bias.begin(), other.bias.end()) {}
  Array<T> a, b, before;  // before: what is in C
  Array<Wide<T>> bias;
};

template <class T, class In, class Out>
Gemm<T, Out> product_of(const GemmCase& s, const In& in, Out* c) {
  return {.m = s.m,
          .n = s.n,
          .k = s.k,
          .transpose_a = s.transpose_a,
          .transpose_b = s.transpose_b,
          .accumulate = s.accumulate,
          .a = in.a.data(),
          .b = in.b.data(),
          .c = c,
          .lda = s.gap ? s.lda() : 0,
          .ldb = s.gap ? s.ldb() : 0,
          .ldc = s.gap ? s.ldc() : 0,
          .bias = s.bias ? in.bias.data() : nullptr};
}

// C as reference.h computes it from the same numbers, in double.
template <class T>
std::vector<double> reference_of(const GemmCase& s, const GemmOperands<T>& in) {
  const GemmOperands<double> exact(in);
  std::vector<double> c = exact.before;
  reference::gemm(product_of<double>(s, exact, c.data()));
  return c;
}

}  // namespace sfumato::kernels::testing
