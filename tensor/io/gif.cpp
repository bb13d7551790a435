// Animated GIF files, written with giflib.
#include <fmt/format.h>
#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/file.h"
#include "tensor/io/frames.h"
#include "tensor/io/image.h"

namespace sfumato::io {
namespace {

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
