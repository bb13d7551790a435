// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2015), one dimension of it at a time.
//
// Four outputs of a filter of three taps are coefficients of a product of polynomials, of degree 5
// and so fixed by its values at six points. Evaluate the input (Bᵀ) and the filter (G) there,
// multiply point by point, interpolate (Aᵀ). In two dimensions each is applied to rows and columns:
//     Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A,   d: 6x6 input, g: 3x3 filter, Y: 4x4 output.
//
// The points are 0, ±a, ±b and ∞ with a = 1/√2, b = √2. The usual choice, ±1 and ±2, doubles the
// rounding error: its powers spread further apart. With a² = 1/2, b² = 2, ab = 1:
//
//          ⎡1   0  -5/2  0  1 0⎤        ⎡ 1     0     0  ⎤
//          ⎢0 -2a  -2    a  1 0⎥        ⎢-2/3 -2a/3 -1/3 ⎥        ⎡1  1    1   1   1  0⎤
//     Bᵀ = ⎢0  2a  -2   -a  1 0⎥    G = ⎢-2/3  2a/3 -1/3 ⎥   Aᵀ = ⎢0  a   -a   b  -b  0⎥
//          ⎢0 -b/2 -1/2  b  1 0⎥        ⎢ 1/6   b/6  1/3 ⎥        ⎢0 1/2  1/2  2   2  0⎥
//          ⎢0  b/2 -1/2 -b  1 0⎥        ⎢ 1/6  -b/6  1/3 ⎥        ⎣0 a/2 -a/2  2b -2b 1⎦
//          ⎣0   1    0 -5/2 0 1⎦        ⎣ 0     0     1  ⎦
//
// Where an image ends after one or two of a tile's four outputs, F(2, 3) at 0, ±a and ∞ does: the
// same filters at four of the six points. After three of them F(3, 3) at 0, ±a, b and ∞ does:
//
//          ⎡1    0   -2   0⎤          ⎡1  -a    -2    b   0⎤
//     Bᵀ = ⎢0 -3a/2 -3/2  0⎥          ⎢0 -3b/2 -3/2 3b/2  0⎥
//          ⎢0  3a/2 -3/2  0⎥     Bᵀ = ⎢0   a   -3/2   a   0⎥
//          ⎣0  -1/2   0   1⎦          ⎢0  -b     0   2b   0⎥
//                                     ⎣0   a   -1/2  -b   1⎦
//
// Aᵀ is then the top left of the above at those points, with the last 1 in its last row.
//
// Filters of two taps have one output more from the same points, F(5, 2), F(4, 2) and F(3, 2), and
// the same Bᵀ, which knows the points only; G loses its last column but for the 1, which moves to
// the column before, and Aᵀ goes on with the next powers.
//
// The functions below are these products, with what rows share computed once; o[i * step] is row i
// (of six; four points are 0, 1, 2 and 5, five points also 3).
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template <class T>
inline constexpr T kA = static_cast<T>(0.70710678118654752440);
template <class T>
inline constexpr T kB = static_cast<T>(1.41421356237309504880);

// Rows 1 to 4, the points a, -a, b, -b, from the even and the odd half of a polynomial there.
template <class T>
[[gnu::always_inline]] inline void evaluate_at_pairs(Vec<T> even_a, Vec<T> odd_a, Vec<T> even_b,
                                                     Vec<T> odd_b, Vec<T>* o, int step) {
  o[step] = even_a + kA<T> * odd_a;
  o[2 * step] = even_a - kA<T> * odd_a;
  o[3 * step] = even_b + kB<T> * odd_b;
  o[4 * step] = even_b - kB<T> * odd_b;
}

// Bᵀ: 6 -> 6
template <class T>
[[gnu::always_inline]] inline void transform_input(const Vec<T> (&d)[6], Vec<T>* o, int step) {
  const Vec<T> even_a = d[4] - T{2} * d[2], odd_a = d[3] - T{2} * d[1];
  const Vec<T> even_b = d[4] - T{0.5} * d[2], odd_b = d[3] - T{0.5} * d[1];
  o[0] = d[0] + (d[4] - T{2.5} * d[2]);
  evaluate_at_pairs<T>(even_a, odd_a, even_b, odd_b, o, step);
  o[5 * step] = d[1] + (d[5] - T{2.5} * d[3]);
}

template <class T>
[[gnu::always_inline]] inline void transform_input(const Vec<T> (&d)[4], Vec<T>* o, int step) {
  const Vec<T> even = T{-1.5} * d[2], odd = (T{1.5} * kA<T>)*d[1];
  o[0] = d[0] - T{2} * d[2];
  o[step] = even - odd;
  o[2 * step] = even + odd;
  o[5 * step] = d[3] - T{0.5} * d[1];
}

template <class T>
[[gnu::always_inline]] inline void transform_input(const Vec<T> (&d)[5], Vec<T>* o, int step) {
  const Vec<T> inner = d[3] - T{0.5} * d[1];
  const Vec<T> middle = T{1.5} * d[2];
  o[0] = (d[0] - T{2} * d[2]) + kB<T> * inner;
  o[step] = (T{1.5} * kB<T>)*(d[3] - d[1]) - middle;
  o[2 * step] = kA<T> * (d[1] + d[3]) - middle;
  o[3 * step] = (T{2} * kB<T>)*inner;
  o[5 * step] = (d[4] - T{0.5} * d[2]) - kB<T> * inner;
}

// aⁱ = half_power(i) a^(i mod 2), bⁱ = double_power(i) b^(i mod 2).
template <class T>
constexpr T half_power(int i) {
  return i < 2 ? T{1} : T{0.5} * half_power<T>(i - 2);
}
template <class T>
constexpr T double_power(int i) {
  return i < 2 ? T{1} : T{2} * double_power<T>(i - 2);
}

// Aᵀ: P of six points -> M outputs
template <class T, int P, int M>
[[gnu::always_inline]] inline void transform_output(const Vec<T> (&m)[6], Vec<T>* o, int step) {
  const Vec<T> even_a = m[1] + m[2], odd_a = kA<T> * (m[1] - m[2]);
  Vec<T> even_b{}, odd_b{};
  if constexpr (P == 6) even_b = m[3] + m[4], odd_b = kB<T> * (m[3] - m[4]);
  if constexpr (P == 5) even_b = m[3], odd_b = kB<T> * m[3];
#pragma GCC unroll 6
  for (int i = 0; i < M; ++i) {
    Vec<T> sum = half_power<T>(i) * (i % 2 == 0 ? even_a : odd_a);
    if constexpr (P > 4) sum += double_power<T>(i) * (i % 2 == 0 ? even_b : odd_b);
    if (i == 0) sum += m[0];
    if (i == M - 1) sum += m[5];
    o[i * step] = sum;
  }
}

// A: M -> P of six points, the adjoint of Aᵀ
template <class T, int P, int M>
[[gnu::always_inline]] inline void transform_gradient(const Vec<T> (&y)[M], Vec<T>* o, int step) {
  Vec<T> even_a = y[0], odd_a = y[1], even_b = y[0], odd_b = y[1];
#pragma GCC unroll 6
  for (int i = 2; i < M; ++i) {
    (i % 2 == 0 ? even_a : odd_a) += half_power<T>(i) * y[i];
    if constexpr (P > 4) (i % 2 == 0 ? even_b : odd_b) += double_power<T>(i) * y[i];
  }
  o[0] = y[0];
  o[step] = even_a + kA<T> * odd_a;
  o[2 * step] = even_a - kA<T> * odd_a;
  if constexpr (P > 4) o[3 * step] = even_b + kB<T> * odd_b;
  if constexpr (P > 5) o[4 * step] = even_b - kB<T> * odd_b;
  o[5 * step] = y[M - 1];
}

// G: taps -> 6
template <class T>
[[gnu::always_inline]] inline void transform_filter(const Vec<T> (&g)[3], Vec<T>* o, int step) {
  const Vec<T> even_a = g[0] * T(-2.0 / 3) - g[2] * T(1.0 / 3), odd_a = g[1] * T(-2.0 / 3);
  const Vec<T> even_b = g[0] * T(1.0 / 6) + g[2] * T(1.0 / 3), odd_b = g[1] * T(1.0 / 6);
  o[0] = g[0];
  evaluate_at_pairs<T>(even_a, odd_a, even_b, odd_b, o, step);
  o[5 * step] = g[2];
}
template <class T>
[[gnu::always_inline]] inline void transform_filter(const Vec<T> (&g)[2], Vec<T>* o, int step) {
  const T at_a = T(-2.0 / 3), at_b = T(1.0 / 6);
  o[0] = g[0];
  evaluate_at_pairs<T>(at_a * g[0], at_a * g[1], at_b * g[0], at_b * g[1], o, step);
  o[5 * step] = g[1];
}

// Gᵀ: 6 -> taps, the adjoint of G
template <class T, int Taps>
[[gnu::always_inline]] inline void transform_filter_gradient(const Vec<T> (&u)[6],
                                                             Vec<T> (&g)[Taps]) {
  const Vec<T> even_a = u[1] + u[2], odd_a = u[1] - u[2];
  const Vec<T> even_b = u[3] + u[4], odd_b = u[3] - u[4];
  g[0] = u[0] - even_a * T(2.0 / 3) + even_b * T(1.0 / 6);
  g[1] = (kB<T> * T(1.0 / 6)) * odd_b - (kA<T> * T(2.0 / 3)) * odd_a;
  if constexpr (Taps == 2) {
    g[1] += u[5];
  } else {
    g[2] = u[5] + (even_b - even_a) * T(1.0 / 3);
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
