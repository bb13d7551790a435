#include "tensor/io/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/file.h"
#include "tensor/io/json.h"

namespace sfumato::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kMaxHeader = 1 << 16;  // ours take 128 bytes

const char* descr_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "<f4";
    case DType::f64:
      return "<f8";
    case DType::i64:
      return "<i8";
    case DType::u8:
      return "|u1";
  }
  return "?";
}

std::optional<DType> dtype_from(std::string_view descr) {
  for (DType dtype : {DType::f32, DType::f64, DType::i64, DType::u8})
    if (descr == descr_of(dtype)) return dtype;
  return std::nullopt;
}

struct Header {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::int64_t>> shape;
};

// The header is a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class Parser {
 public:
  Parser(std::string_view text, const std::string& where) : rest_(text), where_(where) {}

  Header parse() {
    Header header;
    expect("{");
    while (!accept("}")) {
      const std::string key = string();
      expect(":");
      if (key == "descr" && !header.descr) {
        header.descr = string();
      } else if (key == "fortran_order" && !header.fortran_order) {
        header.fortran_order = boolean();
      } else if (key == "shape" && !header.shape) {
        header.shape = tuple();
      } else {
        fail(fmt::format("descr, fortran_order and shape, once each; got {}", in_quotes(key)));
      }
      if (!accept(",")) {
        expect("}");
        break;
      }
    }
    skip_space();
    if (!rest_.empty()) fail("nothing after the closing brace");
    if (!header.descr || !header.fortran_order || !header.shape)
      fail("all of descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void fail(std::string_view expected) const {
    throw Error(where_, fmt::format("broken .npy header: expected {}", expected));
  }
  void skip_space() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\r\n"), rest_.size()));
  }
  bool accept(std::string_view token) {
    skip_space();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) fail(token);
  }
  std::string string() {
    const std::string_view quote = accept("'") ? "'" : "\"";
    if (quote == "\"" && !accept(quote)) fail("a string (structured dtypes are not supported)");
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) fail("a closing quote");
    std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    if (accept("True")) return true;
    if (accept("False")) return false;
    fail("True or False");
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect("(");
    while (!accept(")")) {
      skip_space();
      std::int64_t value = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
      if (error != std::errc() || value < 0) fail("extents >= 0 of at most 63 bits");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      values.push_back(value);
      if (!accept(",")) {
        expect(")");
        break;
      }
    }
    return values;
  }

  std::string_view rest_;
  const std::string& where_;
};

}  // namespace

Tensor read_npy(const std::filesystem::path& path) {
  const std::string where = path.string();
  const InputFile file(path);
  // magic, major, minor, length of the header in 2 (version 1) or 4 (version 2) bytes
  std::uint8_t start[12] = {};
  const auto available = static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 12));
  file.read_at(0, start, available);
  if (!std::equal(kMagic.begin(), kMagic.end(), start,
                  [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; }))
    throw Error(where, "expected a .npy file, which begins with \\x93NUMPY");
  if (available < 12) throw Error(where, "cut short inside the .npy header");
  if ((start[6] != 1 && start[6] != 2) || start[7] != 0)
    throw Error(where,
                fmt::format("expected .npy version 1.0 or 2.0, got {}.{}", start[6], start[7]));
  std::uint64_t length = start[8] | start[9] << 8;
  if (start[6] == 2) length |= std::uint64_t{start[10]} << 16 | std::uint64_t{start[11]} << 24;
  const std::uint64_t header_begin = start[6] == 1 ? 10 : 12;
  const std::uint64_t limit = std::min(kMaxHeader, file.size() - header_begin);
  if (length > limit)
    throw Error(where, fmt::format("expected a .npy header of at most {} bytes, its length says {}",
                                   limit, length));
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read_at(header_begin, text.data(), text.size());
  const Header header = Parser(text, where).parse();

  const std::optional<DType> dtype = dtype_from(*header.descr);
  if (!dtype)
    throw Error(where, fmt::format("unsupported dtype {}, expected |u1, <f4, <f8 or <i8",
                                   in_quotes(*header.descr)));
  if (*header.fortran_order)
    throw Error(where, "fortran_order is True, expected C order: save numpy.ascontiguousarray(x)");
  Shape shape;
  try {
    shape = Shape(header.shape->data(), header.shape->data() + header.shape->size());
  } catch (const Error& e) {
    throw Error(where, e.what());
  }
  const std::uint64_t bytes = file.size() - header_begin - length, item = size_of(*dtype);
  if (bytes % item != 0 || bytes / item != static_cast<std::uint64_t>(shape.size()))
    throw Error(where, fmt::format("shape {} needs {} x {} bytes of data, the file holds {}",
                                   shape.str(), shape.size(), item, bytes));
  Tensor t(shape, *dtype);
  file.read_at(header_begin + length, t.raw(), t.bytes());
  return t;
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  if (!tensor.defined()) throw Error(path.string(), "cannot write an undefined tensor");
  const Shape& shape = tensor.shape();
  // A tuple of one needs its comma: (3,)
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                  descr_of(tensor.dtype()), fmt::join(shape, ", "), shape.rank() == 1 ? "," : "");
  // The numbers begin at a multiple of 64, so that they can be mapped into memory.
  while ((kMagic.size() + 4 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  AtomicFile file(path);
  file.write(kMagic);
  const std::uint8_t rest[4] = {1, 0, static_cast<std::uint8_t>(header.size() & 255),
                                static_cast<std::uint8_t>(header.size() >> 8)};
  file.write(rest, sizeof rest);
  file.write(header);
  file.write(tensor.raw(), tensor.bytes());
  file.commit();
}

}  // namespace sfumato::io
