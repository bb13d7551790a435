#include "apps/grid.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string_view>

namespace sfumato::apps {
namespace {

// A 3x5 font: each glyph five rows of three bits, top row first.
struct Glyph {
  char c;
  std::uint16_t rows[5];
};
constexpr Glyph kFont[] = {
    {'0', {7, 5, 5, 5, 7}}, {'1', {2, 6, 2, 2, 7}}, {'2', {7, 1, 7, 4, 7}}, {'3', {7, 1, 7, 1, 7}},
    {'4', {5, 5, 7, 1, 1}}, {'5', {7, 4, 7, 1, 7}}, {'6', {7, 4, 7, 5, 7}}, {'7', {7, 1, 2, 2, 2}},
    {'8', {7, 5, 7, 5, 7}}, {'9', {7, 5, 7, 1, 7}}, {'A', {2, 5, 7, 5, 5}}, {'B', {6, 5, 6, 5, 6}},
    {'C', {3, 4, 4, 4, 3}}, {'D', {6, 5, 5, 5, 6}}, {'E', {7, 4, 6, 4, 7}}, {'F', {7, 4, 6, 4, 4}},
    {'G', {3, 4, 5, 5, 3}}, {'H', {5, 5, 7, 5, 5}}, {'I', {7, 2, 2, 2, 7}}, {'J', {1, 1, 1, 5, 2}},
    {'K', {5, 5, 6, 5, 5}}, {'L', {4, 4, 4, 4, 7}}, {'M', {5, 7, 7, 5, 5}}, {'N', {6, 5, 5, 5, 5}},
    {'O', {2, 5, 5, 5, 2}}, {'P', {6, 5, 6, 4, 4}}, {'Q', {2, 5, 5, 6, 3}}, {'R', {6, 5, 6, 5, 5}},
    {'S', {3, 4, 2, 1, 6}}, {'T', {7, 2, 2, 2, 2}}, {'U', {5, 5, 5, 5, 7}}, {'V', {5, 5, 5, 5, 2}},
    {'W', {5, 5, 7, 7, 5}}, {'X', {5, 5, 2, 5, 5}}, {'Y', {5, 5, 2, 2, 2}}, {'Z', {7, 1, 2, 4, 7}},
    {'-', {0, 0, 7, 0, 0}}, {'_', {0, 0, 0, 0, 7}}, {'.', {0, 0, 0, 0, 2}}};

class Canvas {
 public:
  Canvas(std::int64_t height, std::int64_t width, std::int64_t channels)
      : image_(Tensor::full({height, width, channels}, 40, DType::u8)) {}

  void block(std::int64_t y, std::int64_t x, std::int64_t size, const std::uint8_t* pixel) {
    const std::int64_t width = image_.dim(1), c = image_.dim(2);
    auto* p = image_.data<std::uint8_t>();
    for (std::int64_t i = y; i < y + size; ++i)
      for (std::int64_t j = x; j < x + size; ++j) std::copy_n(pixel, c, p + (i * width + j) * c);
  }

  // Centred in [x, x + width), cut off where it does not fit.
  void text(std::int64_t y, std::int64_t x, std::int64_t width, std::int64_t size,
            std::string_view s) {
    constexpr std::uint8_t kWhite[3] = {235, 235, 235};
    const std::int64_t advance = 4 * size;
    s = s.substr(0, static_cast<std::size_t>(std::max<std::int64_t>(1, width / advance)));
    x += std::max<std::int64_t>(0,
                                (width - static_cast<std::int64_t>(s.size()) * advance + size) / 2);
    for (char c : s) {
      const char upper = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      for (const Glyph& g : kFont)
        if (g.c == upper)
          for (int i = 0; i < 5; ++i)
            for (int j = 0; j < 3; ++j)
              if (g.rows[i] >> (2 - j) & 1) block(y + i * size, x + j * size, size, kWhite);
      x += advance;
    }
  }

  const Tensor& image() const { return image_; }

 private:
  Tensor image_;
};

struct Layout {
  std::int64_t columns, zoom, cell_h, cell_w, letter, header, height, width;
};

constexpr std::int64_t kGap = 2;

Layout layout(const Shape& images, const GridOptions& options) {
  const std::int64_t n = images[0], h = images[1], w = images[2];
  if (n == 0 || options.columns < 1) throw Error("grid", "nothing to show");
  Layout l{};
  l.columns = std::min(options.columns, n);
  l.zoom = options.zoom > 0 ? options.zoom : std::clamp<std::int64_t>(64 / std::max(h, w), 1, 8);
  l.cell_h = h * l.zoom + kGap;
  l.cell_w = w * l.zoom + kGap;
  l.letter = l.zoom + 1;
  l.header = options.headers.empty() ? 0 : 7 * l.letter;
  l.height = (n + l.columns - 1) / l.columns * l.cell_h + kGap + l.header;
  l.width = l.columns * l.cell_w + kGap;
  return l;
}

}  // namespace

Shape grid_shape(const Shape& images, const GridOptions& options) {
  const Layout l = layout(images, options);
  return {l.height, l.width, images[3]};
}

Tensor make_grid(const Tensor& images, const GridOptions& options) {
  expect_rank("grid", "images", images, 4);
  expect_dtype("grid", "images", images, DType::u8);
  const std::int64_t n = images.dim(0), h = images.dim(1), w = images.dim(2), c = images.dim(3);
  const Layout l = layout(images.shape(), options);
  Canvas canvas(l.height, l.width, c);
  for (std::size_t j = 0; j < options.headers.size() && static_cast<std::int64_t>(j) < l.columns;
       ++j)
    canvas.text(l.letter, kGap + static_cast<std::int64_t>(j) * l.cell_w, w * l.zoom, l.letter,
                options.headers[j]);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t y = 0; y < h; ++y)
      for (std::int64_t x = 0; x < w; ++x)
        canvas.block(l.header + kGap + i / l.columns * l.cell_h + y * l.zoom,
                     kGap + i % l.columns * l.cell_w + x * l.zoom, l.zoom,
                     images.data<std::uint8_t>() + ((i * h + y) * w + x) * c);
  return canvas.image();
}

}  // namespace sfumato::apps
