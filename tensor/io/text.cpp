#include "tensor/io/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace sfumato::io {
namespace {

struct Character {
  std::string_view bytes;
  std::int32_t code;  // -1: the byte begins no UTF-8 character
};

// The first character of `text`, which is not empty.
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {text.substr(0, 1), static_cast<std::int32_t>(lead)};
  const std::size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  const Character invalid{text.substr(0, 1), -1};
  if (lead < 0xc2 || lead > 0xf4 || text.size() < n) return invalid;
  std::int32_t code = static_cast<std::int32_t>(lead & (0x7fu >> n));
  for (std::size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return invalid;
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr std::array<std::int32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kSmallest[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return invalid;
  return {text.substr(0, n), code};
}

// Control characters, and those that show nothing or change what is shown around them.
bool acts_on_terminal(std::int32_t code) {
  constexpr std::pair<std::int32_t, std::int32_t> kRanges[] = {
      {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},      {0x61c, 0x61c},
      {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},  {0x2060, 0x206f},
      {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [&](const auto& r) { return code >= r.first && code <= r.second; });
}

// As it stands in a message: itself, or an escape.
std::string shown(const Character& c) {
  if (c.code < 0) return fmt::format("\\x{:02x}", static_cast<unsigned char>(c.bytes[0]));
  if (!acts_on_terminal(c.code)) return std::string(c.bytes);
  if (c.code == '\n') return "\\n";
  if (c.code == '\t') return "\\t";
  return c.code > 0xffff ? fmt::format("\\U{:08x}", c.code) : fmt::format("\\u{:04x}", c.code);
}

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLimit = 100;
  std::string quoted = "\"";
  while (!text.empty()) {
    const Character c = first_character(text);
    const std::string next =
        c.code == '"' || c.code == '\\' ? "\\" + std::string(c.bytes) : shown(c);
    if (quoted.size() + next.size() > kLimit) return quoted + "\"...";
    quoted += next;
    text.remove_prefix(c.bytes.size());
  }
  return quoted + '"';
}

std::string in_quotes(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 12;
  std::string list;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i)
    list += (i > 0 ? ", " : "") + in_quotes(names[i]);
  if (names.size() > kShown) list += fmt::format(" and {} more", names.size() - kShown);
  return list;
}

std::string printable(std::string_view message) {
  std::string out;
  while (!message.empty()) {
    const Character c = first_character(message);
    out += shown(c);
    message.remove_prefix(c.bytes.size());
  }
  return out;
}

std::string printable_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    out += printable(text.substr(0, end));
    if (end == text.npos) break;
    out += '\n';
    text.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace sfumato::io
