// What a lane gives to multiply_add (mma.h), and three ways to multiply numbers.
#pragma once
#include <bit>
#include <cstdint>
#include <type_traits>

#include "cuda/gemm.h"
#include "cuda/mma.h"

namespace sfumato::cuda {

// How numbers are multiplied: as bf16, as f32 rounded to TF32, or as f32 that are each the sum of two numbers of TF32, of whose
// four products three are added: what is left out is 2^-22 of a product (Ootomo and Yokota 2022, "Recovering single precision
// accuracy from Tensor Cores").
struct AsBf16 {
  using Number = bf16;
  static constexpr bool kInTwo = false;
};
struct AsTf32 {
  using Number = float;
  static constexpr bool kInTwo = false;
};
struct AsTwoTf32 {
  using Number = float;
  static constexpr bool kInTwo = true;
};

// f(how numbers of T, bf16 or float, are multiplied). Its type alone counts.
template <class T, class F>
void with_products(const F& f) {
  if constexpr (std::is_same_v<T, bf16>) return f(AsBf16());
  if constexpr (std::is_same_v<T, float>) return tf32_allowed() ? f(AsTf32()) : f(AsTwoTf32());
}

// The words of a factor as multiply_add takes them: four of the first one, or twice two of the second.
template <class P>
struct Fragment {
  std::uint32_t words[4] = {}, rest[4] = {};  // the rest only in two

  // `words` are numbers as they are kept.
  __device__ void round() {
    if constexpr (std::is_same_v<typename P::Number, float>) {
      SFUMATO_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float v = std::bit_cast<float>(words[i]);
        words[i] = tf32_of(v);
        if (P::kInTwo) rest[i] = tf32_of(v - std::bit_cast<float>(words[i]));
      }
    }
  }
};

// to += a b, with the first or the second of b's factors.
template <class P>
__device__ void add_product(float (&to)[4], const Fragment<P>& a, const Fragment<P>& b,
                            int second) {
  const typename P::Number number{};
  const int at = 2 * second;
  if constexpr (P::kInTwo) {
    // Apart from the sum so far: tensor cores cut off what they add to it, always towards 0.
    float sum[4] = {};
    multiply_add(number, sum, a.rest, b.words[at], b.words[at + 1]);
    multiply_add(number, sum, a.words, b.rest[at], b.rest[at + 1]);
    multiply_add(number, sum, a.words, b.words[at], b.words[at + 1]);
    SFUMATO_UNROLL
    for (int i = 0; i < 4; ++i) to[i] += sum[i];
  } else {
    multiply_add(number, to, a.words, b.words[at], b.words[at + 1]);
  }
}

}  // namespace sfumato::cuda
