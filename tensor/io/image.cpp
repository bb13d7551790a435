#include "tensor/io/image.h"

#include <fmt/format.h>
#include <gif_lib.h>
#include <png.h>
#include <setjmp.h>
#include <stb_image_write.h>
#include <stdio.h>
// jpeglib.h needs stdio.h before it.
#include <jpeglib.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/file.h"

namespace sfumato::io {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 30;

void check_pixels(const std::string& where, std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1 || height > kMaxPixels / width)
    throw Error(where,
                fmt::format("expected 1 to {} pixels, got {} x {}", kMaxPixels, height, width));
}

// Both libraries report through text; one line of it is enough.
std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

// --- PNG ---------------------------------------------------------------------------------------

Tensor read_png(const std::string& where, const std::string& bytes) {
  struct Png : png_image {
    Png() : png_image{} { version = PNG_IMAGE_VERSION; }
    ~Png() { png_image_free(this); }
  } png;
  if (!png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()))
    throw Error(where, fmt::format("damaged PNG: {}", first_line(png.message)));
  check_pixels(where, png.height, png.width);
  const bool color = png.format & PNG_FORMAT_FLAG_COLOR;
  png.format = color ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // without it, 16-bit files are taken as linear light
  const png_color white{255, 255, 255};
  Tensor image(Shape{png.height, png.width, color ? 3 : 1}, DType::u8);
  if (!png_image_finish_read(&png, &white, image.raw(), 0, nullptr))
    throw Error(where, fmt::format("damaged PNG: {}", first_line(png.message)));
  return image;
}

// --- JPEG --------------------------------------------------------------------------------------

// libjpeg reports errors by a callback that must not return; it jumps back into start() or
// finish(), which therefore own nothing that has a destructor.
class JpegReader {
 public:
  JpegReader(const std::uint8_t* bytes, std::size_t count) : bytes_(bytes), count_(count) {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = [](j_common_ptr info) {
      auto* self = static_cast<JpegReader*>(info->client_data);
      self->note(info);
      longjmp(self->back_, 1);
    };
    // Warnings mean lost or damaged data, which libjpeg would fill up with grey.
    errors_.emit_message = [](j_common_ptr info, int level) {
      auto* self = static_cast<JpegReader*>(info->client_data);
      if (level >= 0) return;
      self->note(info);
      longjmp(self->back_, 1);
    };
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  // Reads the header and chooses grey or RGB. False: see message().
  bool start() {
    if (setjmp(back_)) return false;
    jpeg_create_decompress(&info_);
    jpeg_mem_src(&info_, bytes_, count_);
    jpeg_read_header(&info_, TRUE);
    info_.out_color_space = channels() == 1 ? JCS_GRAYSCALE : JCS_RGB;
    return true;
  }
  // Fills height() x width() x channels() bytes.
  bool finish(std::uint8_t* to) {
    if (setjmp(back_)) return false;
    jpeg_start_decompress(&info_);
    const std::size_t row =
        std::size_t{info_.output_width} * static_cast<unsigned>(info_.output_components);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW line = to + row * info_.output_scanline;
      jpeg_read_scanlines(&info_, &line, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }
  std::int64_t height() const { return info_.image_height; }
  std::int64_t width() const { return info_.image_width; }
  int channels() const { return info_.num_components; }
  const char* message() const { return message_; }

 private:
  void note(j_common_ptr info) { info->err->format_message(info, message_); }

  const std::uint8_t* bytes_;
  std::size_t count_;
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jmp_buf back_{};
  char message_[JMSG_LENGTH_MAX] = {};
};

Tensor read_jpeg(const std::string& where, const std::string& bytes) {
  JpegReader jpeg(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  const auto damaged = [&] {
    return Error(where, fmt::format("damaged JPEG: {}", first_line(jpeg.message())));
  };
  if (!jpeg.start()) throw damaged();
  if (jpeg.channels() != 1 && jpeg.channels() != 3)
    throw Error(where, fmt::format("expected a grey or RGB JPEG, got {} channels (CMYK?)",
                                   jpeg.channels()));
  check_pixels(where, jpeg.height(), jpeg.width());
  Tensor image(Shape{jpeg.height(), jpeg.width(), jpeg.channels()}, DType::u8);
  if (!jpeg.finish(image.data<std::uint8_t>())) throw damaged();
  return image;
}

// --- writing -----------------------------------------------------------------------------------

// A tensor seen as [frames, height, width, channels].
struct Frames {
  std::int64_t count, height, width, channels;
  const std::uint8_t* pixels;
};

// `leading` axes (0 or 1) come before [H,W] or [H,W,C].
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

// Grey: 256 levels. Colour: 6 x 7 x 6, green finest since the eye is; the rest stays black.
std::array<GifColorType, 256> gif_palette(bool color) {
  std::array<GifColorType, 256> palette{};
  const auto level = [](int i, int levels) {
    return static_cast<GifByteType>((i * 255 + (levels - 1) / 2) / (levels - 1));
  };
  for (int i = 0; i < (color ? 6 * 7 * 6 : 256); ++i) {
    const auto grey = static_cast<GifByteType>(i);
    palette[static_cast<std::size_t>(i)] =
        color ? GifColorType{level(i / 42, 6), level(i / 6 % 7, 7), level(i % 6, 6)}
              : GifColorType{grey, grey, grey};
  }
  return palette;
}

GifByteType gif_index(const std::uint8_t* pixel, bool color) {
  if (!color) return *pixel;
  const auto nearest = [](int value, int levels) { return (value * (levels - 1) + 127) / 255; };
  return static_cast<GifByteType>(nearest(pixel[0], 6) * 42 + nearest(pixel[1], 7) * 6 +
                                  nearest(pixel[2], 6));
}

bool gif_put_loop(GifFileType* gif) {
  constexpr std::array<GifByteType, 3> kForEver{1, 0, 0};
  return EGifPutExtensionLeader(gif, APPLICATION_EXT_FUNC_CODE) == GIF_OK &&
         EGifPutExtensionBlock(gif, 11, "NETSCAPE2.0") == GIF_OK &&
         EGifPutExtensionBlock(gif, kForEver.size(), kForEver.data()) == GIF_OK &&
         EGifPutExtensionTrailer(gif) == GIF_OK;
}

bool gif_put_frame(GifFileType* gif, const Frames& f, std::int64_t index, int delay_ms) {
  GraphicsControlBlock control{};
  control.DisposalMode = DISPOSE_DO_NOT;
  control.DelayTime = (delay_ms + 5) / 10;
  control.TransparentColor = NO_TRANSPARENT_COLOR;
  std::array<GifByteType, 4> extension{};
  EGifGCBToExtension(&control, extension.data());
  const int width = static_cast<int>(f.width), height = static_cast<int>(f.height);
  if (EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, extension.size(), extension.data()) != GIF_OK ||
      EGifPutImageDesc(gif, 0, 0, width, height, false, nullptr) != GIF_OK)
    return false;
  std::vector<GifByteType> line(static_cast<std::size_t>(f.width));
  const std::uint8_t* pixel = f.pixels + index * f.height * f.width * f.channels;
  for (std::int64_t y = 0; y < f.height; ++y) {
    for (GifByteType& out : line) {
      out = gif_index(pixel, f.channels == 3);
      pixel += f.channels;
    }
    if (EGifPutLine(gif, line.data(), width) != GIF_OK) return false;
  }
  return true;
}

}  // namespace

Tensor read_image(const std::filesystem::path& path, const Background&) {
  const std::string bytes = read_file(path, kMaxFileBytes);
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return read_png(path.string(), bytes);
  if (bytes.starts_with("\xff\xd8\xff")) return read_jpeg(path.string(), bytes);
  throw Error(path.string(), "expected a PNG or JPEG picture, the file begins like neither");
}

void write_png(const std::filesystem::path& path, const Tensor& image) {
  const Frames f = as_frames(path.string(), image, 0);
  std::string bytes;
  const auto append = [](void* to, void* data, int count) {
    static_cast<std::string*>(to)->append(static_cast<const char*>(data),
                                          static_cast<std::size_t>(count));
  };
  const int width = static_cast<int>(f.width), channels = static_cast<int>(f.channels);
  if (!stbi_write_png_to_func(append, &bytes, width, static_cast<int>(f.height), channels, f.pixels,
                              width * channels))
    throw Error(path.string(), "cannot encode the PNG: out of memory");
  write_file_atomic(path, bytes);
}

void write_gif(const std::filesystem::path& path, const Tensor& frames, const GifOptions& options) {
  const std::string where = path.string();
  const Frames f = as_frames(where, frames, 1);
  if (std::max(f.height, f.width) > kMaxGifSide)
    throw Error(where, fmt::format("a GIF holds at most {0} x {0} pixels, got {1} x {2}",
                                   kMaxGifSide, f.height, f.width));
  const int last = options.last_delay_ms ? options.last_delay_ms : options.delay_ms;
  if (std::min(options.delay_ms, last) < 0 || std::max(options.delay_ms, last) > 655350)
    throw Error(where, fmt::format("expected GIF delays of 0 to 655350 ms, got {} and {}",
                                   options.delay_ms, last));
  const auto append = [](GifFileType* gif, const GifByteType* data, int count) {
    static_cast<std::string*>(gif->UserData)
        ->append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(count));
    return count;
  };
  std::string bytes;
  const auto close = [](GifFileType* gif) { EGifCloseFile(gif, nullptr); };
  std::unique_ptr<GifFileType, decltype(close)> gif(EGifOpen(&bytes, append, nullptr), close);
  const auto palette = gif_palette(f.channels == 3);
  const std::unique_ptr<ColorMapObject, decltype(&GifFreeMapObject)> map(
      GifMakeMapObject(256, palette.data()), &GifFreeMapObject);
  bool good = gif && map;
  if (good) {
    EGifSetGifVersion(gif.get(), true);
    good = EGifPutScreenDesc(gif.get(), static_cast<int>(f.width), static_cast<int>(f.height), 8, 0,
                             map.get()) == GIF_OK;
  }
  if (good && options.loop) good = gif_put_loop(gif.get());
  for (std::int64_t i = 0; good && i < f.count; ++i)
    good = gif_put_frame(gif.get(), f, i, i + 1 == f.count ? last : options.delay_ms);
  if (good) good = EGifCloseFile(gif.release(), nullptr) == GIF_OK;
  if (!good) throw Error(where, "cannot encode the GIF: out of memory");
  write_file_atomic(path, bytes);
}

}  // namespace sfumato::io
