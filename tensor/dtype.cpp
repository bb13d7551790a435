#include "tensor/dtype.h"

#include <fmt/format.h>

namespace sfumato {

const char* name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
    case DType::bf16:
      return "bf16";
  }
  return "?";
}

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
  }
  return 0;
}

std::string name(Kind kind) {
  return kind.device == Device::cpu ? name(kind.dtype)
                                    : fmt::format("{} on {}", name(kind.dtype), name(kind.device));
}

}  // namespace sfumato
