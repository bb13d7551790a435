// Pictures: PNG and JPEG in, PNG and animated GIF out. Pixels are u8, sRGB as stored, [H,W,C] with
// C = 1 (grey) or 3 (RGB).
#pragma once
#include <cstdint>
#include <filesystem>

#include "tensor/tensor.h"

namespace sfumato::io {

inline constexpr std::int64_t kMaxPixels = std::int64_t{1} << 26;

// u8 [H,W,C] from a PNG or JPEG file, told apart by content. Grey stays grey (C = 1); a palette
// becomes RGB; 16 bits are rounded to 8; transparency is composed onto white, in linear light. EXIF
// orientation is not applied. Throws Error naming the file for anything else, for CMYK, for more
// than kMaxPixels, and for damage of any kind (no half-read picture reaches training).
Tensor read_image(const std::filesystem::path& path);

// `image`: u8 [H,W] or [H,W,C], C = 1 or 3. Replaced atomically.
void write_png(const std::filesystem::path& path, const Tensor& image);

struct GifOptions {
  int delay_ms = 100;     // per frame, kept in hundredths of a second
  int last_delay_ms = 0;  // the last frame holds this long; 0: as the others
  bool loop = true;       // for ever, else play once
};

// `frames`: u8 [F,H,W] or [F,H,W,C], C = 1 or 3, H and W at most 65535. Grey keeps its 256 levels;
// colour is rounded to a fixed palette of 6 x 7 x 6 levels, without dithering. Replaced atomically.
void write_gif(const std::filesystem::path& path, const Tensor& frames,
               const GifOptions& options = {});

}  // namespace sfumato::io
