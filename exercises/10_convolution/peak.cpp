// The machine's speed limit for exercise 10: independent multiply-adds on vectors, compiled as the exercise is.
#include "10_convolution/peak.h"

#include "10_convolution/exercise.h"

namespace exercises {

float multiply_adds(int rounds) {
  constexpr int kChains = 10;  // as many as hide the time that one takes, and registers hold
  Vector sum[kChains] = {}, factor = {1, 1, 1, 1, 1, 1, 1, 1}, x = 0.5f * factor;
  for (int i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (int k = 0; k < kChains; ++k) sum[k] = sum[k] * x + factor;
  }
  float total = 0;
  for (const Vector& s : sum) total += s[0];
  return total;
}

}  // namespace exercises
