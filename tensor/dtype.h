// What the elements of a tensor are, and where.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "tensor/bf16.h"
#include "tensor/device.h"

namespace sfumato {

// bf16 is for storage on a GPU: the CPU converts it and computes nothing in it (computes_in).
enum class DType : std::uint8_t { f32, f64, i64, u8, bf16 };

const char* name(DType dtype);
std::size_t size_of(DType dtype);

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<std::int64_t>() {
  return DType::i64;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
  return DType::u8;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::bf16;
}

// The results of an operation are of the kind of its inputs.
struct Kind {
  DType dtype = DType::f32;
  Device device = Device::cpu;

  constexpr Kind(DType dtype = DType::f32, Device device = Device::cpu)
      : dtype(dtype), device(device) {}
  constexpr bool operator==(const Kind&) const = default;
};
std::string name(Kind kind);  // "f32", "f32 on cuda:0"
// Whether operations take floating-point elements of that kind: f32 and f64, on a GPU also bf16.
constexpr bool computes_in(Kind kind) {
  return kind.dtype != DType::bf16 || kind.device != Device::cpu;
}
// What Wide<T> is of a type: f32 of bf16, any other itself.
constexpr Kind wide(Kind kind) {
  return {kind.dtype == DType::bf16 ? DType::f32 : kind.dtype, kind.device};
}

// Calls f.operator()<T>() with the element type of `dtype`.
template <class F>
decltype(auto) dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f64:
      return f.template operator()<double>();
    case DType::i64:
      return f.template operator()<std::int64_t>();
    case DType::u8:
      return f.template operator()<std::uint8_t>();
    case DType::bf16:
      return f.template operator()<bf16>();
    default:
      return f.template operator()<float>();
  }
}

}  // namespace sfumato
