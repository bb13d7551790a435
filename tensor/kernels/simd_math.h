// exp and the logistic function of vectors.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2, where a polynomial of degree 6
// (minimax, relative error 3e-9) is good to about 2 units in the last place. ln 2 is subtracted in
// two parts so that r keeps all its bits.
//   x <= -87.7 (-inf included): 0.   x >= 88.4: +inf.   NaN: NaN (the clamps let it through), so
//   that a NaN in the network reaches the loss and is noticed.
[[gnu::always_inline]] inline Vec<float> exp(Vec<float> x) {
  // Adding 1.5 * 2^23 leaves n in the lowest bits; the 127 makes it a biased exponent.
  constexpr float kRound = 12582912 + 127;
  x = max(splat(-88.0f), x);
  x = min(splat(89.0f), x);
  const Vec<float> shifted = x * 1.44269504f + kRound;
  const Vec<float> n = shifted - kRound;
  const Vec<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec<float> p = r * 0.0013814540579915047f + 0.00836874544620514f;
  p = p * r + 0.04166838899254799f;
  p = p * r + 0.1666652113199234f;
  p = p * r + 0.4999999403953552f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // 2^n by its exponent bits: n = -127 gives 0 and n = 128 gives +inf.
  return p * __builtin_bit_cast(Vec<float>, __builtin_bit_cast(BitVec<float>, shifted) << 23);
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
