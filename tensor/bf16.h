// bf16: the upper half of a float, for storage. Arithmetic is done in float.
#pragma once
#include <bit>
#include <cstdint>

namespace sfumato {

struct bf16 {
  std::uint16_t bits = 0;

  constexpr bf16() = default;
  // To the nearest, to even between two. NaN stays NaN.
  constexpr explicit bf16(float v) {
    const auto b = std::bit_cast<std::uint32_t>(v);
    bits =
        static_cast<std::uint16_t>(v != v ? b >> 16 | 0x40u : (b + 0x7fffu + (b >> 16 & 1u)) >> 16);
  }
  constexpr operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

// The type of what is few but must be exact, beside arrays of T: vectors of parameters, statistics, sums, and gradients
// of weights. It is also what T is computed in.
template <class T>
struct WideOf {
  using type = T;
};
template <>
struct WideOf<bf16> {
  using type = float;
};
template <class T>
using Wide = typename WideOf<T>::type;

}  // namespace sfumato
