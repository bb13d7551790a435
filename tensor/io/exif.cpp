#include "tensor/io/exif.h"

#include <algorithm>
#include <cstdint>
#include <optional>

namespace sfumato::io {
namespace {

// Reads a TIFF file's numbers, whose byte order its first two bytes name.
class Tiff {
 public:
  explicit Tiff(std::string_view bytes) : bytes_(bytes), big_(bytes.starts_with("MM")) {}
  bool known() const {
    return bytes_.starts_with(std::string_view("II*\0", 4)) ||
           bytes_.starts_with(std::string_view("MM\0*", 4));
  }
  std::optional<std::uint32_t> number(std::uint64_t at, unsigned size) const {
    if (at + size > bytes_.size()) return std::nullopt;
    std::uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i)
      value = value << 8 | static_cast<std::uint8_t>(bytes_[at + (big_ ? i : size - 1 - i)]);
    return value;
  }

 private:
  std::string_view bytes_;
  bool big_;
};

}  // namespace

int exif_orientation(std::string_view bytes) {
  constexpr std::uint32_t kOrientation = 0x0112, kEntry = 12;
  const Tiff tiff(bytes);
  if (!tiff.known()) return 0;
  const auto directory = tiff.number(4, 4);
  const auto entries = directory ? tiff.number(*directory, 2) : std::nullopt;
  for (std::uint32_t i = 0; i < entries.value_or(0); ++i) {
    const std::uint64_t at = std::uint64_t{*directory} + 2 + std::uint64_t{i} * kEntry;
    if (tiff.number(at, 2) != kOrientation) continue;
    const std::uint32_t type = tiff.number(at + 2, 2).value_or(0);  // 1 BYTE, 3 SHORT, 4 LONG
    const unsigned size = type == 1 ? 1 : type == 3 ? 2 : type == 4 ? 4 : 0;
    const std::uint32_t value = size ? tiff.number(at + 8, size).value_or(0) : 0;
    return value <= 8 ? static_cast<int>(value) : 0;
  }
  return 0;
}

int xmp_orientation(std::string_view packet) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (std::size_t at = packet.find(kName); at != std::string_view::npos;
       at = packet.find(kName, at + 1)) {
    std::string_view rest = packet.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9')
      return rest[0] <= '8' ? rest[0] - '0' : 0;
  }
  return 0;
}

bool swaps_sides(int orientation) { return orientation >= 5 && orientation <= 8; }

Tensor turned(const Tensor& image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  const std::int64_t h = image.dim(0), w = image.dim(1), c = image.dim(2);
  const bool swap = swaps_sides(orientation);
  const std::int64_t rows = swap ? w : h, columns = swap ? h : w;
  // Whether the source's row and column count down.
  const bool up = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool left = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  Tensor out({rows, columns, c}, DType::u8);
  const auto* from = image.data<std::uint8_t>();
  auto* to = out.data<std::uint8_t>();
  for (std::int64_t y = 0; y < rows; ++y)
    for (std::int64_t x = 0; x < columns; ++x) {
      const std::int64_t row = swap ? x : y, column = swap ? y : x;
      const std::int64_t pixel = (up ? h - 1 - row : row) * w + (left ? w - 1 - column : column);
      to = std::copy_n(from + pixel * c, c, to);
    }
  return out;
}

}  // namespace sfumato::io
