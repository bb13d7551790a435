// Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2015), one dimension of it at a time.
//
// Four outputs of a filter of three taps are coefficients of a product of polynomials, of degree 5
// and so fixed by its values at six points: 0, 1, -1, 2, -2 and ∞. Evaluate the input (Bᵀ) and the
// filter (G) there, multiply point by point, interpolate (Aᵀ). In two dimensions each is applied to
// rows and columns:
//     Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A,   d: 6x6 input, g: 3x3 filter, Y: 4x4 output.
//
//          ⎡4  0 -5  0 1 0⎤        ⎡ 1/4    0    0 ⎤
//          ⎢0 -4 -4  1 1 0⎥        ⎢-1/6 -1/6 -1/6 ⎥        ⎡1 1  1 1  1 0⎤
//     Bᵀ = ⎢0  4 -4 -1 1 0⎥    G = ⎢-1/6  1/6 -1/6 ⎥   Aᵀ = ⎢0 1 -1 2 -2 0⎥
//          ⎢0 -2 -1  2 1 0⎥        ⎢1/24 1/12  1/6 ⎥        ⎢0 1  1 4  4 0⎥
//          ⎢0  2 -1 -2 1 0⎥        ⎢1/24 -1/12 1/6 ⎥        ⎣0 1 -1 8 -8 1⎦
//          ⎣0  4  0 -5 0 1⎦        ⎣ 0      0    1 ⎦
//
// The functions below are these products, with what rows share computed once; o[i * step] is row i.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Bᵀ: 6 -> 6
template <class T>
[[gnu::always_inline]] inline void transform_input(const Vec<T> (&d)[6], Vec<T>* o, int step) {
  const Vec<T> even = d[4] - T{4} * d[2], odd = d[3] - T{4} * d[1];
  const Vec<T> even2 = d[4] - d[2], odd2 = T{2} * (d[3] - d[1]);
  o[0] = T{4} * d[0] + (d[4] - T{5} * d[2]);
  o[step] = even + odd;
  o[2 * step] = even - odd;
  o[3 * step] = even2 + odd2;
  o[4 * step] = even2 - odd2;
  o[5 * step] = T{4} * d[1] + (d[5] - T{5} * d[3]);
}

// Aᵀ: 6 -> 4
template <class T>
[[gnu::always_inline]] inline void transform_output(const Vec<T> (&m)[6], Vec<T>* o, int step) {
  const Vec<T> even = m[1] + m[2], odd = m[1] - m[2], even2 = m[3] + m[4], odd2 = m[3] - m[4];
  o[0] = m[0] + even + even2;
  o[step] = odd + T{2} * odd2;
  o[2 * step] = even + T{4} * even2;
  o[3 * step] = odd + T{8} * odd2 + m[5];
}

// A: 4 -> 6, the adjoint of Aᵀ
template <class T>
[[gnu::always_inline]] inline void transform_gradient(const Vec<T> (&y)[4], Vec<T>* o, int step) {
  const Vec<T> even = y[0] + y[2], odd = y[1] + y[3];
  const Vec<T> even2 = y[0] + T{4} * y[2], odd2 = T{2} * y[1] + T{8} * y[3];
  o[0] = y[0];
  o[step] = even + odd;
  o[2 * step] = even - odd;
  o[3 * step] = even2 + odd2;
  o[4 * step] = even2 - odd2;
  o[5 * step] = y[3];
}

// G: 3 -> 6
template <class T>
[[gnu::always_inline]] inline void transform_filter(const Vec<T> (&g)[3], Vec<T>* o, int step) {
  const Vec<T> ends = (g[0] + g[2]) * T(-1.0 / 6), middle = g[1] * T(1.0 / 6);
  const Vec<T> ends2 = g[0] * T(1.0 / 24) + g[2] * T(1.0 / 6), middle2 = g[1] * T(1.0 / 12);
  o[0] = g[0] * T(0.25);
  o[step] = ends - middle;
  o[2 * step] = ends + middle;
  o[3 * step] = ends2 + middle2;
  o[4 * step] = ends2 - middle2;
  o[5 * step] = g[2];
}

// Gᵀ: 6 -> 3, the adjoint of G
template <class T>
[[gnu::always_inline]] inline void transform_filter_gradient(const Vec<T> (&u)[6], Vec<T>* o,
                                                             int step) {
  const Vec<T> sum = u[1] + u[2], sum2 = u[3] + u[4];
  o[0] = u[0] * T(0.25) - sum * T(1.0 / 6) + sum2 * T(1.0 / 24);
  o[step] = (u[2] - u[1]) * T(1.0 / 6) + (u[3] - u[4]) * T(1.0 / 12);
  o[2 * step] = (sum2 - sum) * T(1.0 / 6) + u[5];
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
