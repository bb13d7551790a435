// exp and the logistic function of vectors.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2, where a polynomial of degree 7 is
// good to about 2 units in the last place (coefficients: Cephes, expf). ln 2 is subtracted in two
// parts so that r keeps all its bits.
//   x <= -87.7 (-inf included): 0.   x >= 88.4: +inf.   NaN: NaN (the clamps let it through), so
//   that a NaN in the network reaches the loss and is noticed.
[[gnu::always_inline]] inline Vec<float> exp(Vec<float> x) {
  constexpr float kRound = 12582912;  // 1.5 * 2^23: adding it leaves n in the lowest bits
  x = x < splat(-88.0f) ? splat(-88.0f) : x;
  x = x > splat(89.0f) ? splat(89.0f) : x;
  const Vec<float> shifted = x * 1.44269504f + kRound;
  const Vec<float> n = shifted - kRound;
  const Vec<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + (r + 1.0f);
  // 2^n by its exponent bits: n = -127 gives 0 and n = 128 gives +inf.
  const BitVec<float> power = (__builtin_bit_cast(BitVec<float>, shifted) + 127) << 23;
  return p * __builtin_bit_cast(Vec<float>, power);
}

// f64 serves gradient checks: accuracy matters, speed does not.
inline Vec<double> exp(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

// 1 / (1 + e^-x); 0 and 1 for large |x|.
template <class T>
[[gnu::always_inline]] inline Vec<T> sigmoid(Vec<T> x) {
  return T{1} / (T{1} + exp(-x));
}

// d/dz z s(z) = s (1 + z (1 - s)).
template <class T>
[[gnu::always_inline]] inline Vec<T> silu_slope(Vec<T> z) {
  const Vec<T> s = sigmoid<T>(z);
  return s * (z * (T{1} - s) + T{1});
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
