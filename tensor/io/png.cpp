// PNG files, decoded with libpng's low-level interface: the high-level one applies gamma and
// composes in linear light, so that the pixels are not those in the file.
#include <fmt/format.h>
#include <png.h>
#include <setjmp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <optional>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/exif.h"
#include "tensor/io/picture.h"

namespace sfumato::io {
namespace {

constexpr std::string_view kMagic = "\x89PNG\r\n\x1a\n";

// What the chunks say before anything is decoded.
struct Chunks {
  std::uint32_t width = 0, height = 0;
  int depth = 0, color_type = 0;
  bool color_key = false;  // tRNS: a transparent colour, or a palette with alpha
  int orientation = 0;
};

std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (char c : bytes.substr(0, 4)) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

int orientation_of(std::string_view type, std::string_view data) {
  constexpr std::string_view kXmp("XML:com.adobe.xmp\0", 18);
  if (type == "eXIf") {
    // Some writers keep JPEG's prefix.
    if (data.starts_with(std::string_view("Exif\0\0", 6))) data.remove_prefix(6);
    return exif_orientation(data);
  }
  return type == "iTXt" && data.starts_with(kXmp) ? xmp_orientation(data.substr(kXmp.size())) : 0;
}

Chunks read_chunks(const std::string& where, std::string_view bytes) {
  bytes.remove_prefix(kMagic.size());
  Chunks chunks;
  bool first = true;
  while (bytes.size() >= 8) {
    const std::uint64_t length = big_endian(bytes);
    const std::string_view type = bytes.substr(4, 4);
    if (length + 12 > bytes.size()) break;
    const std::string_view data = bytes.substr(8, static_cast<std::size_t>(length));
    if (first && (type != "IHDR" || length != 13)) break;
    if (first) {
      chunks.width = big_endian(data);
      chunks.height = big_endian(data.substr(4));
      chunks.depth = static_cast<unsigned char>(data[8]);
      chunks.color_type = static_cast<unsigned char>(data[9]);
    }
    first = false;
    if (type == "tRNS") chunks.color_key = true;
    if (const int found = orientation_of(type, data); found && !chunks.orientation)
      chunks.orientation = found;
    bytes.remove_prefix(static_cast<std::size_t>(length) + 12);
  }
  if (first) throw Error(where, "damaged PNG: its header is missing or cut short");
  return chunks;
}

bool has_alpha(const Chunks& c) {
  return c.color_key || (c.color_type & PNG_COLOR_MASK_ALPHA) != 0;
}

bool is_grey(const Background& background) {
  return !background.color || ((*background.color)[0] == (*background.color)[1] &&
                               (*background.color)[1] == (*background.color)[2]);
}

std::int64_t channels_of(const Chunks& c, const Background& background) {
  const bool color = (c.color_type & PNG_COLOR_MASK_COLOR) != 0;
  return color || (has_alpha(c) && !is_grey(background)) ? 3 : 1;
}

// `value` with alpha `a` on `under`, with the rounding of PIL's alpha_composite.
std::uint8_t compose(unsigned value, unsigned a, unsigned under) {
  if (a == 0) return static_cast<std::uint8_t>(under);
  const unsigned sum = value * (a << 7) + under * ((255 - a) << 7) + (0x80u << 7);
  return static_cast<std::uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
}

// libpng reports errors by a callback that must not return; it jumps back into start() or
// read_rows(), which therefore own nothing that has a destructor.
class PngReader {
 public:
  PngReader(const std::string& where, std::string_view bytes) : where_(where), bytes_(bytes) {
    png_ = png_create_read_struct(
        PNG_LIBPNG_VER_STRING, this,
        [](png_structp png, png_const_charp text) {
          auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
          std::strncpy(self->message_.data(), text, self->message_.size() - 1);
          longjmp(self->back_, 1);
        },
        [](png_structp, png_const_charp) {});
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    if (!info_) {
      png_destroy_read_struct(&png_, &info_, nullptr);
      throw std::bad_alloc();
    }
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  // Reads up to the pixels. Samples of fewer than 8 bits then come as one byte each, unscaled.
  void start() {
    if (!start_or_jump()) throw damaged();
  }
  // Calls row(y, samples) for each row, in order.
  template <class Row>
  void rows(const Row& row) {
    const bool interlaced = png_get_interlace_type(png_, info_) != PNG_INTERLACE_NONE;
    const std::size_t height = png_get_image_height(png_, info_);
    const std::size_t bytes = png_get_rowbytes(png_, info_);
    std::vector<std::uint8_t> samples(interlaced ? bytes * height : bytes);
    for (int pass = 0; pass < passes_; ++pass)
      for (std::size_t y = 0; y < height; ++y) {
        std::uint8_t* to = samples.data() + (interlaced ? y * bytes : 0);
        if (!read_row_or_jump(to)) throw damaged();
        if (pass + 1 == passes_) row(static_cast<std::int64_t>(y), to);
      }
    // What follows the last pixel may be damaged or missing, as for PIL: no pixel is lost.
    finish_or_jump();
  }
  int depth() const { return depth_; }  // in the file: 1, 2, 4, 8 or 16
  png_structp png() const { return png_; }
  png_infop info() const { return info_; }

 private:
  Error damaged() const {
    // libpng's own words for a failed allocation.
    if (std::strstr(message_.data(), "emory")) throw std::bad_alloc();
    return Error(where_, fmt::format("damaged PNG: {}", message_.data()));
  }

  bool start_or_jump() {
    if (setjmp(back_)) return false;
    png_set_read_fn(png_, this, [](png_structp png, png_bytep to, std::size_t count) {
      auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
      if (count > self->bytes_.size()) png_error(png, "cut short");
      std::memcpy(to, self->bytes_.data(), count);
      self->bytes_.remove_prefix(count);
    });
    png_set_user_limits(png_, kMaxPixels, kMaxPixels);
    // A chunk with a wrong checksum is no hint to be passed over: it may be the transparency.
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(png_, info_);
    depth_ = png_get_bit_depth(png_, info_);
    png_set_packing(png_);
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool read_row_or_jump(std::uint8_t* to) {
    if (setjmp(back_)) return false;
    png_read_row(png_, to, nullptr);
    return true;
  }
  void finish_or_jump() {
    if (setjmp(back_)) return;
    png_read_end(png_, nullptr);
  }

  const std::string& where_;
  std::string_view bytes_;  // not yet read
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  int passes_ = 1, depth_ = 0;
  jmp_buf back_{};
  std::array<char, 200> message_{};
};

// From a row of samples to grey or RGB on a background.
class Converter {
 public:
  Converter(const PngReader& png, const Background& background, std::int64_t channels)
      : background_(background), channels_(channels) {
    depth_ = png.depth();
    type_ = png_get_color_type(png.png(), png.info());
    samples_ = png_get_channels(png.png(), png.info());
    if (png_colorp palette = nullptr; png_get_PLTE(png.png(), png.info(), &palette, &entries_))
      std::copy_n(palette, entries_, palette_.begin());
    alphas_.fill(255);
    png_bytep alphas = nullptr;
    png_color_16p key = nullptr;
    int count = 0;
    if (!png_get_tRNS(png.png(), png.info(), &alphas, &count, &key)) return;
    if (type_ == PNG_COLOR_TYPE_PALETTE)
      std::copy_n(alphas, std::min(count, 256), alphas_.begin());
    else
      key_ = type_ == PNG_COLOR_TYPE_GRAY ? std::array{key->gray, key->gray, key->gray}
                                          : std::array{key->red, key->green, key->blue};
  }

  void convert(const std::uint8_t* from, std::int64_t width, std::uint8_t* to) {
    if (depth_ == 8 && samples_ == channels_ && type_ != PNG_COLOR_TYPE_PALETTE && !key_) {
      std::copy_n(from, width * channels_, to);
      return;
    }
    for (std::int64_t x = 0; x < width; ++x, to += channels_) {
      const Pixel p = pixel(from);
      from += std::ptrdiff_t{samples_} * (depth_ == 16 ? 2 : 1);
      transparent_ |= p.alpha != 255;
      for (std::int64_t c = 0; c < channels_; ++c) {
        const auto i = static_cast<std::size_t>(c);
        to[c] =
            background_.color ? compose(p.color[i], p.alpha, (*background_.color)[i]) : p.color[i];
      }
    }
  }
  bool transparent() const { return transparent_; }

 private:
  struct Pixel {
    std::array<std::uint8_t, 3> color;
    std::uint8_t alpha;
  };

  Pixel pixel(const std::uint8_t* from) const {
    if (type_ == PNG_COLOR_TYPE_PALETTE) {
      // Beyond the palette is black, as in PIL and in browsers.
      const png_color c = *from < entries_ ? palette_[*from] : png_color{0, 0, 0};
      return {{c.red, c.green, c.blue}, alphas_[*from]};
    }
    const int colors = type_ & PNG_COLOR_MASK_COLOR ? 3 : 1;
    Pixel p{{}, 255};
    bool keyed = key_.has_value();
    for (int c = 0; c < 3; ++c) {
      const auto i = static_cast<std::size_t>(c);
      const int sample = colors == 3 ? c : 0;
      p.color[i] = byte(from, sample);
      keyed = keyed && whole(from, sample) == (*key_)[i];
    }
    if (type_ & PNG_COLOR_MASK_ALPHA) p.alpha = byte(from, colors);
    if (keyed) p.alpha = 0;
    return p;
  }
  unsigned whole(const std::uint8_t* from, std::ptrdiff_t sample) const {
    return depth_ == 16 ? unsigned{from[2 * sample]} << 8 | from[2 * sample + 1] : from[sample];
  }
  // The upper 8 of 16 bits; fewer than 8 stretched to 0..255.
  std::uint8_t byte(const std::uint8_t* from, std::ptrdiff_t sample) const {
    if (depth_ == 16) return from[2 * sample];
    return static_cast<std::uint8_t>(from[sample] * (255 / ((1 << depth_) - 1)));
  }

  Background background_;
  std::int64_t channels_;
  int depth_, type_, samples_, entries_ = 0;
  std::array<png_color, 256> palette_{};
  std::array<std::uint8_t, 256> alphas_{};
  std::optional<std::array<png_uint_16, 3>> key_;
  bool transparent_ = false;
};

}  // namespace

bool is_png(std::string_view bytes) { return bytes.starts_with(kMagic); }

PictureHeader png_header(const std::string& where, std::string_view bytes,
                         const Background& background) {
  const Chunks c = read_chunks(where, bytes);
  check_pixels(where, c.height, c.width);
  return {c.height, c.width, channels_of(c, background), std::max(1, c.orientation)};
}

Picture decode_png(const std::string& where, std::string_view bytes, const Background& background) {
  const PictureHeader header = png_header(where, bytes, background);
  PngReader png(where, bytes);
  png.start();
  Picture picture;
  picture.pixels = Tensor(Shape{header.height, header.width, header.channels}, DType::u8);
  Converter converter(png, background, header.channels);
  png.rows([&](std::int64_t y, const std::uint8_t* samples) {
    converter.convert(samples, header.width,
                      picture.pixels.data<std::uint8_t>() + y * header.width * header.channels);
  });
  picture.transparent = converter.transparent();
  return picture;
}

}  // namespace sfumato::io
