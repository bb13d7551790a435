#include "tensor/io/resize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace sfumato::io {
namespace {

constexpr int kPrecision = 22;  // bits after the point of a weight, as in PIL

// Keys' cubic with a = -0.5.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Which source pixels make one of the result, and how much each counts.
struct Window {
  std::int64_t first = 0;
  std::vector<std::int32_t> weights;
};

// The stretch [from, to) of an axis of `extent` pixels, as `count` pixels. The ends are floats
// because PIL keeps them so, and the weights shall have the same bits.
std::vector<Window> windows(std::int64_t extent, float from, float to, std::int64_t count) {
  const double scale = static_cast<double>(to - from) / static_cast<double>(count);
  const double stretch = std::max(scale, 1.0), support = 2 * stretch;
  std::vector<Window> all(static_cast<std::size_t>(count));
  std::vector<double> weights;
  for (std::int64_t i = 0; i < count; ++i) {
    const double center = from + (static_cast<double>(i) + 0.5) * scale;
    // Rounded as Pillow rounds. NOLINTBEGIN(bugprone-incorrect-roundings)
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - support + 0.5));
    const auto last = std::min(extent, static_cast<std::int64_t>(center + support + 0.5));
    // NOLINTEND(bugprone-incorrect-roundings)
    weights.clear();
    double sum = 0;
    for (std::int64_t x = first; x < last; ++x) {
      weights.push_back(cubic((static_cast<double>(x) - center + 0.5) * (1.0 / stretch)));
      sum += weights.back();
    }
    Window& window = all[static_cast<std::size_t>(i)];
    window.first = first;
    for (double w : weights)
      window.weights.push_back(static_cast<std::int32_t>(
          std::trunc((sum != 0 ? w / sum : w) * (1 << kPrecision) + (w < 0 ? -0.5 : 0.5))));
  }
  return all;
}

std::uint8_t clip(std::int64_t sum) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> kPrecision, 0, 255));
}

// [H,W,C] -> [H,count,C]
Tensor resize_rows(const Tensor& image, const std::vector<Window>& all) {
  const std::int64_t h = image.dim(0), w = image.dim(1), c = image.dim(2);
  Tensor out({h, static_cast<std::int64_t>(all.size()), c}, DType::u8);
  auto* to = out.data<std::uint8_t>();
  for (std::int64_t y = 0; y < h; ++y)
    for (const Window& window : all)
      for (std::int64_t k = 0; k < c; ++k) {
        const auto* from = image.data<std::uint8_t>() + (y * w + window.first) * c + k;
        std::int64_t sum = std::int64_t{1} << (kPrecision - 1);
        for (std::int32_t weight : window.weights) sum += weight * std::int64_t{*from}, from += c;
        *to++ = clip(sum);
      }
  return out;
}

// [H,W,C] -> [count,W,C]
Tensor resize_columns(const Tensor& image, const std::vector<Window>& all) {
  const std::int64_t row = image.dim(1) * image.dim(2);
  Tensor out({static_cast<std::int64_t>(all.size()), image.dim(1), image.dim(2)}, DType::u8);
  auto* to = out.data<std::uint8_t>();
  for (const Window& window : all)
    for (std::int64_t x = 0; x < row; ++x) {
      const auto* from = image.data<std::uint8_t>() + window.first * row + x;
      std::int64_t sum = std::int64_t{1} << (kPrecision - 1);
      for (std::int32_t weight : window.weights) sum += weight * std::int64_t{*from}, from += row;
      *to++ = clip(sum);
    }
  return out;
}

}  // namespace

Tensor fit_to(const Tensor& image, const Extent& size) {
  const std::int64_t h = image.dim(0), w = image.dim(1);
  if (h == size.height && w == size.width) return image;
  const auto height = static_cast<double>(h), width = static_cast<double>(w);
  const double have = width / height;
  const double want = static_cast<double>(size.width) / static_cast<double>(size.height);
  const double crop_width = have > want ? want * height : width;
  const double crop_height = have < want ? width / want : height;
  const double left = (width - crop_width) * 0.5, top = (height - crop_height) * 0.5;
  const auto x0 = static_cast<float>(left), x1 = static_cast<float>(left + crop_width);
  const auto y0 = static_cast<float>(top), y1 = static_cast<float>(top + crop_height);
  const auto rows = [&](const Tensor& t) {
    return size.width != w || x0 != 0 || x1 != static_cast<float>(w)
               ? resize_rows(t, windows(w, x0, x1, size.width))
               : t;
  };
  const auto columns = [&](const Tensor& t) {
    return size.height != h || y0 != 0 || y1 != static_cast<float>(h)
               ? resize_columns(t, windows(h, y0, y1, size.height))
               : t;
  };
  // What shrinks the most first, as PIL does: the rounding in between depends on the order.
  const bool columns_first = h > size.height && h - size.height > 2 * (w - size.width);
  return columns_first ? rows(columns(image)) : columns(rows(image));
}

}  // namespace sfumato::io
