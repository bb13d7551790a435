// One picture file: what its header says, and its pixels. Shared by the decoders (png.cpp,
// jpeg.cpp), by read_image, and by the reader of whole folders.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "tensor/io/image.h"

namespace sfumato::io {

// No picture file is larger than this.
inline constexpr std::uint64_t kMaxPictureBytes = std::uint64_t{1} << 30;

struct PictureHeader {
  std::int64_t height = 0, width = 0;  // as shown: after the orientation is applied
  std::int64_t channels = 0;           // 1 or 3, as read_picture gives them
  int orientation = 1;                 // EXIF's, 1..8
};

struct Picture {
  Tensor pixels;             // u8 [H,W,C]
  bool transparent = false;  // some pixel was not opaque
};

// Both throw Error naming `where`. read_picture decodes with the orientation applied, and agrees
// with the header or throws.
PictureHeader read_picture_header(const std::string& where, std::string_view bytes,
                                  const Background& background);
Picture read_picture(const std::string& where, std::string_view bytes,
                     const Background& background);

bool is_png(std::string_view bytes);
bool is_jpeg(std::string_view bytes);

// The decoders. Their headers' height and width, and their pixels, are as stored; their callers
// apply the orientation.
PictureHeader png_header(const std::string& where, std::string_view bytes,
                         const Background& background);
Picture decode_png(const std::string& where, std::string_view bytes, const Background& background);
PictureHeader jpeg_header(const std::string& where, std::string_view bytes);
Picture decode_jpeg(const std::string& where, std::string_view bytes);

// Throws unless 1 <= height * width <= kMaxPixels.
void check_pixels(const std::string& where, std::int64_t height, std::int64_t width);

}  // namespace sfumato::io
