#include "tensor/io/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/error.h"
#include "tensor/f16.h"
#include "tensor/io/budget.h"
#include "tensor/io/file.h"
#include "tensor/io/json.h"

namespace sfumato::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kMaxNpyHeader = 1 << 16;  // ours take 128 bytes

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
    case DType::bf16:
      throw Error("npy", "NumPy has no bf16: .to(DType::f32)");
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

// The bytes of a .npy file, wherever they are.
class Source {
 public:
  virtual ~Source() = default;
  virtual std::uint64_t size() const = 0;
  virtual void read_at(std::uint64_t offset, void* to, std::size_t count) const = 0;
};

class FileSource : public Source {
 public:
  explicit FileSource(const std::filesystem::path& path) : file_(path) {}
  std::uint64_t size() const override { return file_.size(); }
  void read_at(std::uint64_t offset, void* to, std::size_t count) const override {
    file_.read_at(offset, to, count);
  }

 private:
  InputFile file_;
};

class MemorySource : public Source {
 public:
  explicit MemorySource(const std::string& bytes) : bytes_(bytes) {}
  std::uint64_t size() const override { return bytes_.size(); }
  void read_at(std::uint64_t offset, void* to, std::size_t count) const override {
    bytes_.copy(static_cast<char*>(to), count, static_cast<std::size_t>(offset));
  }

 private:
  const std::string& bytes_;
};

// An array's header, and where its numbers begin.
struct Layout {
  std::string descr;
  bool fortran_order;
  Shape shape;
  std::uint64_t begin;
};

Layout read_layout(const std::string& where, const Source& source) {
  // magic, major, minor, length of the header in 2 (version 1) or 4 (version 2) bytes
  std::uint8_t start[12] = {};
  const auto available = static_cast<std::size_t>(std::min<std::uint64_t>(source.size(), 12));
  source.read_at(0, start, available);
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
  const std::uint64_t limit = std::min(kMaxNpyHeader, source.size() - header_begin);
  if (length > limit)
    throw Error(where, fmt::format("expected a .npy header of at most {} bytes, its length says {}",
                                   limit, length));
  std::string text(static_cast<std::size_t>(length), '\0');
  source.read_at(header_begin, text.data(), text.size());
  const Header header = Parser(text, where).parse();
  Layout layout{*header.descr, *header.fortran_order, {}, header_begin + length};
  try {
    layout.shape = Shape(header.shape->data(), header.shape->data() + header.shape->size());
  } catch (const Error& e) {
    throw Error(where, e.what());
  }
  return layout;
}

void expect_data(const std::string& where, const Source& source, const Layout& layout,
                 std::uint64_t item) {
  const std::uint64_t bytes = source.size() - layout.begin;
  if (bytes % item != 0 || bytes / item != static_cast<std::uint64_t>(layout.shape.size()))
    throw Error(where, fmt::format("shape {} needs {} x {} bytes of data, the file holds {}",
                                   layout.shape.str(), layout.shape.size(), item, bytes));
}

// NumPy's dtype of numbers taken apart: ">f4" is big, 'f', 4.
struct Numbers {
  bool big;
  char kind;  // b truth values, i and u whole numbers, f
  std::size_t size;
  std::string name() const {
    const char* kinds = kind == 'i' ? "int" : kind == 'u' ? "uint" : "float";
    return kind == 'b' ? "bool" : fmt::format("{}{}", kinds, 8 * size);
  }
  DType held_as() const {
    if (kind == 'f') return size == 8 ? DType::f64 : DType::f32;
    return kind == 'b' || (kind == 'u' && size == 1) ? DType::u8 : DType::i64;
  }
};

Numbers parse_descr(const std::string& where, std::string_view descr) {
  const std::string_view kinds = "b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8";
  const std::string_view type = descr.substr(std::min<std::size_t>(1, descr.size()));
  const bool known = descr.size() == 3 && std::string_view("<>|=").find(descr[0]) < 4 &&
                     kinds.find(type) != std::string_view::npos && type[0] != ' ' && type[1] != ' ';
  if (known) return {descr[0] == '>', type[0], static_cast<std::size_t>(type[1] - '0')};
  const char kind = type.empty() ? ' ' : type[0];
  const char* advice = "save it with .astype(\"uint8\") or .astype(\"int64\")";
  if (kind == 'U' || kind == 'S')
    advice = "texts: names, numbers = numpy.unique(x, return_inverse=True), and save the numbers";
  if (kind == 'O' || descr == "O")
    advice =
        "Python objects (a list of arrays of different shapes?): numpy.stack(list(x)) makes "
        "one array of equal shapes";
  throw Error(where, fmt::format("holds {}, expected numbers or truth values; {}", in_quotes(descr),
                                 advice));
}

// One number of `n.size` bytes, little-endian, into element i of `to`.
void put(const std::string& where, const Numbers& n, const std::uint8_t* from, Tensor& to,
         std::int64_t i) {
  std::uint64_t bits = 0;
  for (std::size_t k = n.size; k-- > 0;) bits = bits << 8 | from[k];
  if (n.held_as() == DType::u8) {
    to.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(n.kind == 'b' ? bits != 0 : bits);
  } else if (n.kind == 'u') {
    if (bits >> 63) throw Error(where, fmt::format("expected numbers below 2^63, got {}", bits));
    to.data<std::int64_t>()[i] = static_cast<std::int64_t>(bits);
  } else if (n.kind == 'i') {
    const auto unused = static_cast<int>(64 - 8 * n.size);  // the sign is carried into them
    to.data<std::int64_t>()[i] = static_cast<std::int64_t>(bits << unused) >> unused;
  } else if (n.size == 8) {
    to.data<double>()[i] = std::bit_cast<double>(bits);
  } else {
    to.data<float>()[i] = n.size == 4 ? std::bit_cast<float>(static_cast<std::uint32_t>(bits))
                                      : from_f16(static_cast<std::uint16_t>(bits));
  }
}

// Where in C order the numbers stand that come in Fortran order (first axis fastest).
class FortranOrder {
 public:
  explicit FortranOrder(const Shape& shape) : shape_(shape) {
    std::int64_t stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      strides_[static_cast<std::size_t>(axis)] = stride;
      stride *= shape[axis];
    }
  }
  std::int64_t next() {
    const std::int64_t here = at_;
    for (int axis = 0; axis < shape_.rank(); ++axis) {
      const auto a = static_cast<std::size_t>(axis);
      at_ += strides_[a];
      if (++index_[a] < shape_[axis]) break;
      at_ -= strides_[a] * shape_[axis];
      index_[a] = 0;
    }
    return here;
  }

 private:
  const Shape& shape_;
  std::array<std::int64_t, Shape::kMaxRank> strides_{}, index_{};
  std::int64_t at_ = 0;
};

NpyArray read_any(const std::string& where, const Source& source) {
  const Layout layout = read_layout(where, source);
  const Numbers numbers = parse_descr(where, layout.descr);
  expect_data(where, source, layout, numbers.size);
  expect_within_budget(where, static_cast<std::uint64_t>(layout.shape.size()),
                       size_of(numbers.held_as()));
  NpyArray array{Tensor(layout.shape, numbers.held_as()), numbers.name()};
  constexpr std::int64_t kPiece = 1 << 16;
  std::vector<std::uint8_t> piece(static_cast<std::size_t>(kPiece) * numbers.size);
  FortranOrder fortran(layout.shape);
  for (std::int64_t begin = 0; begin < layout.shape.size(); begin += kPiece) {
    const std::int64_t count = std::min(kPiece, layout.shape.size() - begin);
    const auto bytes = static_cast<std::size_t>(count) * numbers.size;
    source.read_at(layout.begin + static_cast<std::uint64_t>(begin) * numbers.size, piece.data(),
                   bytes);
    if (numbers.big)
      for (std::size_t i = 0; i < bytes; i += numbers.size)
        std::reverse(piece.begin() + static_cast<std::ptrdiff_t>(i),
                     piece.begin() + static_cast<std::ptrdiff_t>(i + numbers.size));
    for (std::int64_t i = 0; i < count; ++i)
      put(where, numbers, piece.data() + static_cast<std::size_t>(i) * numbers.size, array.values,
          layout.fortran_order ? fortran.next() : begin + i);
  }
  return array;
}

}  // namespace

Tensor read_npy(const std::filesystem::path& path) {
  const std::string where = path.string();
  const FileSource source(path);
  const Layout layout = read_layout(where, source);
  const std::optional<DType> dtype = dtype_from(layout.descr);
  if (!dtype)
    throw Error(where, fmt::format("unsupported dtype {}, expected |u1, <f4, <f8 or <i8",
                                   in_quotes(layout.descr)));
  if (layout.fortran_order)
    throw Error(where, "fortran_order is True, expected C order: save numpy.ascontiguousarray(x)");
  expect_data(where, source, layout, size_of(*dtype));
  Tensor t(layout.shape, *dtype);
  source.read_at(layout.begin, t.raw(), t.bytes());
  return t;
}

NpyArray read_any_npy(const std::filesystem::path& path) {
  return read_any(path.string(), FileSource(path));
}

NpyArray read_any_npy(const std::string& where, const std::string& bytes) {
  return read_any(where, MemorySource(bytes));
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
