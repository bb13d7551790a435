// Winograd's minimal filtering F(4x4, 3x3) (Winograd 1980; Lavin and Gray 2015), one dimension of it
// at a time.
//
// Where it comes from (the Toom-Cook algorithm, transposed): a filter of three taps and four outputs
// are the coefficients of two polynomials; their product has degree 5 and so is fixed by its values
// at six points. Evaluate both there, multiply the values, interpolate: 6 multiplications instead of
// 12. Correlation is the transpose of polynomial multiplication, so it costs the same: transform the
// input (Bᵀ) and the filter (G), multiply point by point, transform back (Aᵀ). In two dimensions each
// is applied to columns and rows:
//     Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A,   d: 6x6 input, g: 3x3 filter, Y: 4x4 output.
//
// The points are 0, ±a, ±b and ∞ with a = 1/√2, b = √2. The usual choice, ±1 and ±2, doubles the
// rounding error, because its powers spread further apart. With a² = 1/2, b² = 2, ab = 1:
//
//          ⎡1   0  -5/2  0  1 0⎤        ⎡ 1     0     0  ⎤
//          ⎢0 -2a  -2    a  1 0⎥        ⎢-2/3 -2a/3 -1/3 ⎥        ⎡1  1    1   1   1  0⎤
//     Bᵀ = ⎢0  2a  -2   -a  1 0⎥    G = ⎢-2/3  2a/3 -1/3 ⎥   Aᵀ = ⎢0  a   -a   b  -b  0⎥
//          ⎢0 -b/2 -1/2  b  1 0⎥        ⎢ 1/6   b/6  1/3 ⎥        ⎢0 1/2  1/2  2   2  0⎥
//          ⎢0  b/2 -1/2 -b  1 0⎥        ⎢ 1/6  -b/6  1/3 ⎥        ⎣0 a/2 -a/2  2b -2b 1⎦
//          ⎣0   1    0 -5/2 0 1⎦        ⎣ 0     0     1  ⎦
//
// Row p of Aᵀ's transpose holds the powers of point p; row p of G the powers of point p over
// Π_{q≠p} (p - q); row p of Bᵀ the coefficients of Π_{q≠p} (x - q), over the finite points q.
//
// Where an image ends after one or two of a tile's four outputs, F(2, 3) at 0, ±a and ∞ is used: the
// same filters at four of the six points. After three of them F(3, 3) at 0, ±a, b and ∞:
//
//          ⎡1    0   -2   0⎤          ⎡1  -a    -2    b   0⎤
//     Bᵀ = ⎢0 -3a/2 -3/2  0⎥          ⎢0 -3b/2 -3/2 3b/2  0⎥
//          ⎢0  3a/2 -3/2  0⎥     Bᵀ = ⎢0   a   -3/2   a   0⎥
//          ⎣0  -1/2   0   1⎦          ⎢0  -b     0   2b   0⎥
//                                     ⎣0   a   -1/2  -b   1⎦
//
// Aᵀ is then the top left of the above at those points, with the last 1 in its last row. (G is
// scaled for six points; with fewer, Bᵀ carries the factors that make up the difference.)
//
// Filters of two taps have one more output at the same points, F(5, 2), F(4, 2) and F(3, 2), and
// the same Bᵀ, which depends on the points only; G loses its last column but for the 1, which moves
// to the column before, and Aᵀ continues with the next powers.
//
// A transform reads kIn values (those i with reads(i)) and writes kOut (those with writes(i)) to
// o[i * step]. V is T or a vector of it. The static_asserts at the end prove that the matrices compute
// the correlation, and that the gradients' transforms are their transposes.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template <class T>
inline constexpr T kA = static_cast<T>(0.70710678118654752440);
template <class T>
inline constexpr T kB = static_cast<T>(1.41421356237309504880);

// Points are numbered 0: 0, 1: a, 2: -a, 3: b, 4: -b, 5: ∞. A dimension with four points lacks 3 and
// 4, one with five lacks 4.
constexpr bool has_point(index points, int i) {
  return !(i == 4 ? points < 6 : i == 3 && points < 5);
}

// Rows 1 to 4, the points a, -a, b, -b, from the even and the odd half of a polynomial there.
template <class T, class V>
[[gnu::always_inline]] constexpr void evaluate_at_pairs(V even_a, V odd_a, V even_b, V odd_b, V* o,
                                                        int step) {
  o[step] = even_a + kA<T> * odd_a;
  o[2 * step] = even_a - kA<T> * odd_a;
  o[3 * step] = even_b + kB<T> * odd_b;
  o[4 * step] = even_b - kB<T> * odd_b;
}

// Bᵀ: as many inputs as points
template <class T, int Points>
struct InputTransform {
  static constexpr int kIn = Points, kOut = 6;
  static constexpr bool reads(int) { return true; }
  static constexpr bool writes(int i) { return has_point(Points, i); }

  template <class V>
  [[gnu::always_inline]] static constexpr void apply(const V (&d)[kIn], V* o, int step) {
    if constexpr (Points == 6) {
      const V even_a = d[4] - T{2} * d[2], odd_a = d[3] - T{2} * d[1];
      const V even_b = d[4] - T{0.5} * d[2], odd_b = d[3] - T{0.5} * d[1];
      o[0] = d[0] + (d[4] - T{2.5} * d[2]);
      evaluate_at_pairs<T>(even_a, odd_a, even_b, odd_b, o, step);
      o[5 * step] = d[1] + (d[5] - T{2.5} * d[3]);
    } else if constexpr (Points == 5) {
      const V inner = d[3] - T{0.5} * d[1];
      const V middle = T{1.5} * d[2];
      o[0] = (d[0] - T{2} * d[2]) + kB<T> * inner;
      o[step] = (T{1.5} * kB<T>)*(d[3] - d[1]) - middle;
      o[2 * step] = kA<T> * (d[1] + d[3]) - middle;
      o[3 * step] = (T{2} * kB<T>)*inner;
      o[5 * step] = (d[4] - T{0.5} * d[2]) - kB<T> * inner;
    } else {
      const V even = T{-1.5} * d[2], odd = (T{1.5} * kA<T>)*d[1];
      o[0] = d[0] - T{2} * d[2];
      o[step] = even - odd;
      o[2 * step] = even + odd;
      o[5 * step] = d[3] - T{0.5} * d[1];
    }
  }
};

// aⁱ = kHalfPower[i] a^(i mod 2), bⁱ = kDoublePower[i] b^(i mod 2). (Tables, since clang unrolls a loop after it inlines:
// a constexpr function of the loop's counter would be called.)
template <class T>
inline constexpr T kHalfPower[6] = {1, 1, 0.5, 0.5, 0.25, 0.25};
template <class T>
inline constexpr T kDoublePower[6] = {1, 1, 2, 2, 4, 4};

// Aᵀ: points -> outputs
template <class T, int Points, int Taps>
struct OutputTransform {
  static constexpr int kIn = 6, kOut = Points + 1 - Taps;
  static constexpr bool reads(int i) { return has_point(Points, i); }
  static constexpr bool writes(int) { return true; }

  template <class V>
  [[gnu::always_inline]] static constexpr void apply(const V (&m)[kIn], V* o, int step) {
    const V even_a = m[1] + m[2], odd_a = kA<T> * (m[1] - m[2]);
    V even_b{}, odd_b{};
    if constexpr (Points == 6) even_b = m[3] + m[4], odd_b = kB<T> * (m[3] - m[4]);
    if constexpr (Points == 5) even_b = m[3], odd_b = kB<T> * m[3];
#pragma GCC unroll 6
    for (int i = 0; i < kOut; ++i) {
      V sum = kHalfPower<T>[i] * (i % 2 == 0 ? even_a : odd_a);
      if constexpr (Points > 4) sum += kDoublePower<T>[i] * (i % 2 == 0 ? even_b : odd_b);
      if (i == 0) sum += m[0];
      if (i == kOut - 1) sum += m[5];
      o[i * step] = sum;
    }
  }
};

// A: output gradients -> points
template <class T, int Points, int Taps>
struct OutputGradientTransform {
  static constexpr int kIn = Points + 1 - Taps, kOut = 6;
  static constexpr bool reads(int) { return true; }
  static constexpr bool writes(int i) { return has_point(Points, i); }

  template <class V>
  [[gnu::always_inline]] static constexpr void apply(const V (&y)[kIn], V* o, int step) {
    V even_a = y[0], odd_a = y[1], even_b = y[0], odd_b = y[1];
#pragma GCC unroll 6
    for (int i = 2; i < kIn; ++i) {
      (i % 2 == 0 ? even_a : odd_a) += kHalfPower<T>[i] * y[i];
      if constexpr (Points > 4) (i % 2 == 0 ? even_b : odd_b) += kDoublePower<T>[i] * y[i];
    }
    o[0] = y[0];
    o[step] = even_a + kA<T> * odd_a;
    o[2 * step] = even_a - kA<T> * odd_a;
    if constexpr (Points > 4) o[3 * step] = even_b + kB<T> * odd_b;
    if constexpr (Points > 5) o[4 * step] = even_b - kB<T> * odd_b;
    o[5 * step] = y[kIn - 1];
  }
};

// G: taps -> points
template <class T, int Taps>
struct FilterTransform {
  static constexpr int kIn = Taps, kOut = 6;
  static constexpr bool reads(int) { return true; }
  static constexpr bool writes(int) { return true; }

  template <class V>
  [[gnu::always_inline]] static constexpr void apply(const V (&g)[kIn], V* o, int step) {
    o[0] = g[0];
    if constexpr (Taps == 3) {
      const V even_a = g[0] * T(-2.0 / 3) - g[2] * T(1.0 / 3), odd_a = g[1] * T(-2.0 / 3);
      const V even_b = g[0] * T(1.0 / 6) + g[2] * T(1.0 / 3), odd_b = g[1] * T(1.0 / 6);
      evaluate_at_pairs<T>(even_a, odd_a, even_b, odd_b, o, step);
    } else {
      const T at_a = T(-2.0 / 3), at_b = T(1.0 / 6);
      evaluate_at_pairs<T, V>(at_a * g[0], at_a * g[1], at_b * g[0], at_b * g[1], o, step);
    }
    o[5 * step] = g[Taps - 1];
  }
};

// Gᵀ: point gradients -> tap gradients
template <class T, int Taps>
struct FilterGradientTransform {
  static constexpr int kIn = 6, kOut = Taps;
  static constexpr bool reads(int) { return true; }
  static constexpr bool writes(int) { return true; }

  template <class V>
  [[gnu::always_inline]] static constexpr void apply(const V (&u)[kIn], V* g, int step) {
    const V even_a = u[1] + u[2], odd_a = u[1] - u[2];
    const V even_b = u[3] + u[4], odd_b = u[3] - u[4];
    g[0] = u[0] - even_a * T(2.0 / 3) + even_b * T(1.0 / 6);
    V odd = (kB<T> * T(1.0 / 6)) * odd_b - (kA<T> * T(2.0 / 3)) * odd_a;
    if constexpr (Taps == 2) {
      odd += u[5];
    } else {
      g[2 * step] = u[5] + (even_b - even_a) * T(1.0 / 3);
    }
    g[step] = odd;
  }
};

// A transform in two dimensions, C X Rᵀ: `Columns` on each column of X, then `Rows` on each row of the
// result.
//   source.at(i, j): X[i][j], column by column; source.next_column().
//   sink.put(i, row): row i of the result; sink.next_row(), also after rows not written.
template <class Columns, class Rows, class V, class Source, class Sink>
[[gnu::always_inline]] inline void transform_2d(Source source, Sink sink) {
  constexpr int kStep = Rows::kIn;
  V columns[Columns::kOut * kStep];
#pragma GCC unroll 6
  for (int j = 0; j < Rows::kIn; ++j) {
    if (Rows::reads(j)) {
      V x[Columns::kIn];
#pragma GCC unroll 6
      for (int i = 0; i < Columns::kIn; ++i) {
        if (Columns::reads(i)) x[i] = source.at(i, j);
      }
      Columns::apply(x, columns + j, kStep);
    }
    source.next_column();
  }
#pragma GCC unroll 6
  for (int i = 0; i < Columns::kOut; ++i) {
    if (Columns::writes(i)) {
      V x[Rows::kIn], y[Rows::kOut];
#pragma GCC unroll 6
      for (int j = 0; j < Rows::kIn; ++j) {
        if (Rows::reads(j)) x[j] = columns[kStep * i + j];
      }
      Rows::apply(x, y, 1);
      sink.put(i, y);
    }
    sink.next_row();
  }
}

// A source that is a function of (i, j), a sink that is a function of (i, row).
template <class F>
struct ElementSource {
  const F& f;
  [[gnu::always_inline]] auto at(int i, int j) const { return f(i, j); }
  [[gnu::always_inline]] void next_column() const {}
};
template <class F>
ElementSource(const F&) -> ElementSource<F>;
template <class F>
struct RowSink {
  const F& f;
  template <class Row>
  [[gnu::always_inline]] void put(int i, const Row& row) const {
    f(i, row);
  }
  [[gnu::always_inline]] void next_row() const {}
};
template <class F>
RowSink(const F&) -> RowSink<F>;

// ---- proofs, by unit vectors: every transform is linear in each argument

constexpr bool nearly(double x, double y) { return x - y < 1e-14 && y - x < 1e-14; }

// Aᵀ [(G g) ⊙ (Bᵀ d)] is y[i] = Σ_u g[u] d[i + u].
template <int Points, int Taps>
constexpr bool is_correlation() {
  for (int u = 0; u < Taps; ++u) {
    for (int q = 0; q < Points; ++q) {
      double g[Taps] = {}, d[Points] = {}, gg[6] = {}, m[6] = {}, y[Points + 1 - Taps] = {};
      g[u] = d[q] = 1;
      FilterTransform<double, Taps>::apply(g, gg, 1);
      InputTransform<double, Points>::apply(d, m, 1);
      for (int p = 0; p < 6; ++p) m[p] *= gg[p];
      OutputTransform<double, Points, Taps>::apply(m, y, 1);
      for (int i = 0; i < Points + 1 - Taps; ++i) {
        if (!nearly(y[i], q == i + u)) return false;
      }
    }
  }
  return true;
}
static_assert(is_correlation<6, 3>() && is_correlation<5, 3>() && is_correlation<4, 3>());
static_assert(is_correlation<6, 2>() && is_correlation<5, 2>() && is_correlation<4, 2>());

// Whether the matrix of Adjoint is the transpose of that of Transform.
template <class Transform, class Adjoint>
constexpr bool are_adjoint() {
  for (int i = 0; i < Transform::kIn; ++i) {
    for (int o = 0; o < Adjoint::kIn; ++o) {
      if (!Transform::reads(i) || !Adjoint::reads(o)) continue;
      double x[Transform::kIn] = {}, y[Adjoint::kIn] = {}, tx[Transform::kOut] = {},
             ty[Adjoint::kOut] = {};
      x[i] = y[o] = 1;
      Transform::apply(x, tx, 1);
      Adjoint::apply(y, ty, 1);
      if (!nearly(tx[o], ty[i])) return false;
    }
  }
  return true;
}
template <int Points, int Taps>
inline constexpr bool kOutputIsAdjoint = are_adjoint<
    OutputTransform<double, Points, Taps>, OutputGradientTransform<double, Points, Taps>>();
static_assert(kOutputIsAdjoint<6, 3> && kOutputIsAdjoint<5, 3> && kOutputIsAdjoint<4, 3>);
static_assert(kOutputIsAdjoint<6, 2> && kOutputIsAdjoint<5, 2> && kOutputIsAdjoint<4, 2>);
static_assert(are_adjoint<FilterTransform<double, 3>, FilterGradientTransform<double, 3>>());
static_assert(are_adjoint<FilterTransform<double, 2>, FilterGradientTransform<double, 2>>());

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
