// A tensor seen as the pictures that write_png and write_gif write.
#pragma once
#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace sfumato::io {

struct Frames {
  std::int64_t count, height, width, channels;
  const std::uint8_t* pixels;
};

// `leading` axes (0 or 1) come before [H,W] or [H,W,C]. Throws Error naming `where` unless the
// tensor is u8 with 1 or 3 channels and holds 1 to kMaxPixels pixels a frame.
Frames as_frames(const std::string& where, const Tensor& t, int leading);

}  // namespace sfumato::io
