// Pictures: PNG and JPEG in, PNG and animated GIF out. Pixels are u8, sRGB as stored, [H,W,C] with
// C = 1 (grey) or 3 (RGB).
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "tensor/tensor.h"

namespace sfumato::io {

inline constexpr std::int64_t kMaxPixels = std::int64_t{1} << 26;

// The colour that transparent pixels are composed on, in stored values as PIL's alpha_composite
// does. None: the alpha channel is dropped and the stored colours stay, as PIL's Image.convert
// does. That is the default because it alone changes no stored value: black strokes on transparent
// need a white background, white strokes a black one, and no default suits both.
struct Background {
  std::optional<std::array<std::uint8_t, 3>> color = {};
};
// From "none", "white", "black", "R,G,B" (each 0..255), "#RGB" or "#RRGGBB". Throws Error.
Background parse_background(std::string_view text);

struct Extent {
  std::int64_t height = 0, width = 0;  // pixels
  bool operator==(const Extent&) const = default;
};
// From "H,W", or "N" for a square. Throws Error unless both are 1..65536.
Extent parse_extent(std::string_view text);

// u8 [H,W,C] from a PNG or JPEG file, told apart by content: bit for bit what PIL's
// Image.convert("L") or ("RGB") gives, after ImageOps.exif_transpose. Grey stays grey (C = 1), a
// palette and CMYK become RGB; colour profiles and gamma are not applied. Of 16 bits the upper 8
// are taken, also of grey ones (where PIL clips at 255, which leaves white). JPEG data that end
// early or break off are refused, warnings about anything else are not. Throws Error naming the
// file for anything that is no picture, damaged, or larger than kMaxPixels.
Tensor read_image(const std::filesystem::path& path, const Background& background = {});

// `image`: u8 [H,W] or [H,W,C], C = 1 or 3. Replaced atomically.
void write_png(const std::filesystem::path& path, const Tensor& image);

inline constexpr std::int64_t kMaxGifSide = 65535;

struct GifOptions {
  int delay_ms = 100;     // per frame, kept in hundredths of a second
  int last_delay_ms = 0;  // the last frame holds this long; 0: as the others
  bool loop = true;       // for ever, else play once
};

// `frames`: u8 [F,H,W] or [F,H,W,C], C = 1 or 3, H and W at most kMaxGifSide. Grey keeps its 256
// levels; colour is rounded to a fixed palette of 6 x 7 x 6 levels, without dithering. Replaced
// atomically.
void write_gif(const std::filesystem::path& path, const Tensor& frames,
               const GifOptions& options = {});

}  // namespace sfumato::io
