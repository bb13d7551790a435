#include "tensor/io/image.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <string>

#include "tensor/error.h"
#include "tensor/io/encode_png.h"
#include "tensor/io/exif.h"
#include "tensor/io/file.h"
#include "tensor/io/file_kind.h"
#include "tensor/io/frames.h"
#include "tensor/io/picture.h"

namespace sfumato::io {

void check_pixels(const std::string& where, std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1 || height > kMaxPixels / width)
    throw Error(where,
                fmt::format("expected 1 to {} pixels, got {} x {}", kMaxPixels, height, width));
}

PictureHeader read_picture_header(const std::string& where, std::string_view bytes,
                                  const Background& background) {
  if (!is_png(bytes) && !is_jpeg(bytes)) {
    const auto kind = recognise(bytes, "");
    throw Error(where, kind ? fmt::format("expected a PNG or JPEG picture, this is {}: {}",
                                          kind->name, kind->advice)
                            : "expected a PNG or JPEG picture, the file begins like neither");
  }
  PictureHeader header =
      is_png(bytes) ? png_header(where, bytes, background) : jpeg_header(where, bytes);
  if (swaps_sides(header.orientation)) std::swap(header.height, header.width);
  return header;
}

Picture read_picture(const std::string& where, std::string_view bytes,
                     const Background& background) {
  const PictureHeader header = read_picture_header(where, bytes, background);
  Picture picture =
      is_png(bytes) ? decode_png(where, bytes, background) : decode_jpeg(where, bytes);
  picture.pixels = turned(picture.pixels, header.orientation);
  return picture;
}

Tensor read_image(const std::filesystem::path& path, const Background& background) {
  return read_picture(path.string(), read_file(path, kMaxPictureBytes), background).pixels;
}

Frames as_frames(const std::string& where, const Tensor& t, int leading) {
  const char* expected = leading ? "u8 [F,H,W] or [F,H,W,C]" : "u8 [H,W] or [H,W,C]";
  if (!t.defined())
    throw Error(where, fmt::format("expected {}, got an undefined tensor", expected));
  const int rank = t.shape().rank() - leading;
  const bool fits = t.dtype() == DType::u8 && (rank == 2 || rank == 3);
  const std::int64_t channels = fits && rank == 3 ? t.dim(-1) : 1;
  if (!fits || (channels != 1 && channels != 3) || t.size() == 0)
    throw Error(where, fmt::format("expected {} with C 1 or 3 and at least one pixel, got {} {}",
                                   expected, name(t.dtype()), t.shape().str()));
  const Frames f{leading ? t.dim(0) : 1, t.dim(leading), t.dim(leading + 1), channels,
                 t.data<std::uint8_t>()};
  check_pixels(where, f.height, f.width);
  return f;
}

void write_png(const std::filesystem::path& path, const Tensor& image) {
  const Frames f = as_frames(path.string(), image, 0);
  std::string bytes;
  try {
    bytes = encode_png(f.height, f.width, f.channels, f.pixels);
  } catch (const std::bad_alloc&) {
    throw Error(path.string(), "cannot encode the PNG: out of memory");
  }
  write_file_atomic(path, bytes);
}

}  // namespace sfumato::io
