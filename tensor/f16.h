// f16, IEEE 754's half: five bits of exponent, ten of fraction; for files. Arithmetic is done in float.
#pragma once
#include <bit>
#include <cstdint>

namespace sfumato {

// Exact. Infinities and NaN stay so.
inline float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u;
  const std::uint32_t fraction = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal, exact
  return sign ? -magnitude : magnitude;
}

// To the nearest, to even between two; beyond 65504 to infinity. NaN stays NaN.
inline std::uint16_t to_f16(float v) {
  const auto b = std::bit_cast<std::uint32_t>(v);
  const std::uint32_t sign = b >> 16 & 0x8000u, magnitude = b & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude <
      0x38800000u) {  // below 2^-14: the sum's lowest bits are a multiple of 2^-24, rounded to even
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace sfumato
