// The PNG encoder: stb's, made safe.
#pragma once
#include <cstdint>
#include <string>

namespace sfumato::io {

// A PNG file of height x width pixels of 1 or 3 bytes each. Throws std::bad_alloc where memory runs
// out; nothing leaks then. Callable from several threads.
std::string encode_png(std::int64_t height, std::int64_t width, std::int64_t channels,
                       const std::uint8_t* pixels);

}  // namespace sfumato::io
