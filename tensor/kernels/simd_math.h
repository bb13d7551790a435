// exp and the logistic function of vectors.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Adding this leaves round(x) in the lowest bits of the sum, as a biased exponent.
inline constexpr float kRound = 12582912 + 127;  // 1.5 * 2^23 + 127

// 2^n, for the n in `shifted` = n + kRound: 0 for n = -127, +inf for n = 128.
[[gnu::always_inline]] inline Vec<float> power_of_two(Vec<float> shifted) {
  return __builtin_bit_cast(Vec<float>, __builtin_bit_cast(BitVec<float>, shifted) << 23);
}

// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2, where a polynomial of degree 5
// (minimax, relative error 9e-8) is good to about 2 units in the last place. r must keep all its
// bits: n ln 2 is subtracted by one fused operation, or in two parts of which n times the first is
// exact.
//   x <= -87.7 (-inf included): 0.   x >= 88.4: +inf.   NaN: NaN (the clamps let it through), so
//   that a NaN in the network reaches the loss and is noticed.
[[gnu::always_inline]] inline Vec<float> exp(Vec<float> x) {
  x = max(splat(-88.0f), x);
  x = min(splat(89.0f), x);
  const Vec<float> shifted = x * 1.44269504f + kRound;
  const Vec<float> n = shifted - kRound;
#if defined(__FMA__) || defined(__aarch64__)
  const Vec<float> r = x - n * 0.693147182f;
#else
  const Vec<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
#endif
  Vec<float> p = r * 0.008290312428f + 0.04189793817f;
  p = p * r + 0.1666763628f;
  p = p * r + 0.4999914946f;
  p = p * r + 0.9999997072f;
  return (p * r + 1.0f) * power_of_two(shifted);
}

// 2^x likewise, for x <= 127: M vectors in lockstep, so that M independent chains of
// multiply-adds hide each other's latency (one vector after another exceeds the reorder buffer).
template <int M>
[[gnu::always_inline]] inline void exp2(Vec<float> (&x)[M]) {
  Vec<float> shifted[M], p[M];
  const auto each = [](auto&& f) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) f(m);
  };
  each([&](int m) __attribute__((always_inline)) { x[m] = max(splat(-127.0f), x[m]); });
  each([&](int m) __attribute__((always_inline)) { shifted[m] = x[m] + kRound; });
  each([&](int m) __attribute__((always_inline)) { x[m] -= shifted[m] - kRound; });
  const auto step = [&](float c) __attribute__((always_inline)) {
    each([&](int m) __attribute__((always_inline)) { p[m] = p[m] * x[m] + c; });
  };
  each([&](int m)
           __attribute__((always_inline)) { p[m] = x[m] * 0.001326472542f + 0.009671512768f; });
  step(0.05550733749f);
  step(0.2402224208f);
  step(0.6931469776f);
  step(1.0f);
  each([&](int m) __attribute__((always_inline)) { x[m] = p[m] * power_of_two(shifted[m]); });
}

// f64 serves gradient checks: accuracy matters, speed does not.
inline Vec<double> exp(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}

// (Not inlined: GCC 12 would believe that x was never set.)
template <int M>
[[gnu::noinline]] void exp2(Vec<double> (&x)[M]) {
  for (Vec<double>& v : x) {
    for (int i = 0; i < kLanes<double>; ++i) v[i] = __builtin_exp2(v[i]);
  }
}

// 1 / (1 + e^-x); 0 and 1 for large |x|.
template <class T>
[[gnu::always_inline]] inline Vec<T> sigmoid(Vec<T> x) {
  return T{1} / (T{1} + exp(-x));
}

// z s(z), s the sigmoid.
template <class T>
[[gnu::always_inline]] inline Vec<T> silu(Vec<T> z) {
  return z / (T{1} + exp(-z));
}

// It, and d/dz z s(z) = s (1 + z (1 - s)).
template <class T>
struct SiluAndSlope {
  Vec<T> value, slope;
};
template <class T>
[[gnu::always_inline]] inline SiluAndSlope<T> silu_and_slope(Vec<T> z) {
  const Vec<T> s = sigmoid<T>(z);
  return {z * s, s * (z * (T{1} - s) + T{1})};
}

// x s(u), u = √(8/π) (x + 0.044715 x³), and d/dx = s + x s (1 - s) du/dx: GELU's approximation by tanh, as
// (1 + tanh(u/2)) / 2 is the sigmoid of u. x² is bounded, where s is 0 or 1 long since, so that no infinity meets a zero.
template <class T>
[[gnu::always_inline]] inline SiluAndSlope<T> gelu_tanh_and_slope(Vec<T> x) {
  constexpr double kLinear = 1.5957691216057308, kCubic = 0.044715 * kLinear;
  const Vec<T> q = min(splat(T{4096}), x * x);
  const Vec<T> s = sigmoid<T>(x * (q * static_cast<T>(kCubic) + static_cast<T>(kLinear)));
  const Vec<T> y = x * s;
  return {y, s + y * (T{1} - s) * (q * static_cast<T>(3 * kCubic) + static_cast<T>(kLinear))};
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
