// What the user types about pictures: a background, a size.
#include <fmt/format.h>

#include <charconv>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/image.h"
#include "tensor/io/json.h"

namespace sfumato::io {
namespace {

// "12,34" -> {12, 34}. Nothing unless all are whole numbers in the base, without signs.
std::optional<std::vector<std::int64_t>> numbers(std::string_view text) {
  std::vector<std::int64_t> values;
  for (;;) {
    std::int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || text.front() == '-') return std::nullopt;
    values.push_back(value);
    if (stop == end) return values;
    if (*stop != ',') return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(stop - text.data()) + 1);
  }
}

// "#fff" or "#ffffff"
std::optional<std::array<std::uint8_t, 3>> hex_color(std::string_view text) {
  if ((text.size() != 4 && text.size() != 7) || text[0] != '#') return std::nullopt;
  const std::size_t digits = (text.size() - 1) / 3;
  std::array<std::uint8_t, 3> color{};
  for (std::size_t i = 0; i < 3; ++i) {
    const char *begin = text.data() + 1 + i * digits, *end = begin + digits;
    const auto [stop, error] = std::from_chars(begin, end, color[i], 16);
    if (error != std::errc() || stop != end) return std::nullopt;
    if (digits == 1) color[i] = static_cast<std::uint8_t>(color[i] * 17);
  }
  return color;
}

}  // namespace

Background parse_background(std::string_view text) {
  if (text == "none") return {};
  if (text == "white") return {{{255, 255, 255}}};
  if (text == "black") return {{{0, 0, 0}}};
  if (const auto color = hex_color(text)) return {color};
  const auto rgb = numbers(text);
  if (rgb && rgb->size() == 3 && (*rgb)[0] < 256 && (*rgb)[1] < 256 && (*rgb)[2] < 256)
    return {{{static_cast<std::uint8_t>((*rgb)[0]), static_cast<std::uint8_t>((*rgb)[1]),
              static_cast<std::uint8_t>((*rgb)[2])}}};
  throw Error("background",
              fmt::format("expected none, white, black, R,G,B with 0..255 each, or #RRGGBB, got {}",
                          in_quotes(text)));
}

Extent parse_extent(std::string_view text) {
  constexpr std::int64_t kMost = 65536;
  const auto size = numbers(text);
  if (!size || size->size() > 2 || size->front() < 1 || size->back() < 1 || size->front() > kMost ||
      size->back() > kMost)
    throw Error("size", fmt::format("expected N or H,W in pixels, 1..{} each, got {}", kMost,
                                    in_quotes(text)));
  return {size->front(), size->back()};
}

}  // namespace sfumato::io
