// libc++ 14, which emscripten 3.1.6 brings, has no std::bit_cast yet. The compiler has what it is made of.
#pragma once
#include <version>
#if !defined(__cpp_lib_bit_cast)
namespace std {
template <class To, class From>
constexpr To bit_cast(const From& from) noexcept {
  return __builtin_bit_cast(To, from);
}
}  // namespace std
#endif
