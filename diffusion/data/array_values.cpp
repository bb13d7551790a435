#include "diffusion/data/array_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "tensor/error.h"

namespace sfumato::data {
namespace {

// Calls f(values) with the numbers of `t`, whatever their dtype.
template <class F>
auto with_values(const Tensor& t, const F& f) {
  switch (t.dtype()) {
    case DType::u8:
      return f(t.values<std::uint8_t>());
    case DType::i64:
      return f(t.values<std::int64_t>());
    case DType::f32:
      return f(t.values<float>());
    default:
      return f(t.values<double>());
  }
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  bool whole = true, finite = true;
};

Range range_of(const Tensor& t) {
  return with_values(t, [](auto values) {
    Range r;
    for (const auto v : values) {
      const auto x = static_cast<double>(v);
      r.low = std::min(r.low, x);
      r.high = std::max(r.high, x);
      r.finite = r.finite && std::isfinite(x);
      r.whole = r.whole && x == std::trunc(x);
    }
    return r;
  });
}

// --- pictures ----------------------------------------------------------------------------------

// What to type for an array of the wrong rank or number of channels.
std::string advice_on_shape(const Shape& s) {
  const auto side_of = [](std::int64_t pixels) {
    const auto side = static_cast<std::int64_t>(std::lround(std::sqrt(pixels)));
    return side > 1 && side * side == pixels ? side : 0;
  };
  if (s.size() == 0) return "it is empty";
  if (s.rank() == 2) {
    if (const auto side = side_of(s[1]))
      return fmt::format(
          "if each row is a picture, save x.reshape(-1, {0}, {0}); if this is one "
          "picture, save x[None]",
          side);
    if (const auto side = s[1] % 3 ? 0 : side_of(s[1] / 3))
      return fmt::format("if each row is a picture, save x.reshape(-1, 3, {0}, {0})", side);
    return "if this is one picture, save x[None]; if each row is one, x.reshape(-1, H, W)";
  }
  if (s.rank() == 3 && (s[2] == 1 || s[2] == 3))
    return fmt::format(
        "if this is one picture [H,W,{0}], save x[None]; if these are pictures of "
        "width {0}, save x[..., None]",
        s[2]);
  if (s.rank() == 3) return "if this is one picture with transparency, save x[None, ..., :3]";
  if (s.rank() == 4 && s[3] == 4) return "to leave out the transparency, save x[..., :3]";
  if (s.rank() == 4 && s[3] == 2) return "to leave out the transparency, save x[..., :1]";
  if (s.rank() == 4 && s[1] == 4) return "to leave out the transparency, save x[:, :3]";
  if (s.rank() == 4 && s[1] == 2) return "to leave out the transparency, save x[:, :1]";
  return "in Python, x.reshape and x.transpose bring it to that";
}

bool is_count_of_channels(std::int64_t n) { return n == 1 || n == 3; }

// Where the channels are: 3 (the last axis), 1, or -1 (none: [N,H,W]). Throws when unsure.
int channel_axis(const std::string& where, const io::NpyArray& array) {
  const Shape& s = array.values.shape();
  const bool empty = s.size() == 0;
  if (!empty && s.rank() == 4 && is_count_of_channels(s[3])) return 3;
  if (!empty && s.rank() == 4 && is_count_of_channels(s[1])) return 1;
  // [H,W,3] is one picture more often than N pictures of width 3, unless they are square.
  const bool one_picture =
      s.rank() == 3 && (is_count_of_channels(s[2]) || s[2] == 4) && s[1] != s[2];
  if (!empty && s.rank() == 3 && !one_picture) return -1;
  throw Error(where, fmt::format("expected images [N,H,W], [N,H,W,C] or [N,C,H,W] with C 1 or 3, "
                                 "got {} {}: {}",
                                 array.dtype, s.str(), advice_on_shape(s)));
}

template <class F>
Tensor to_bytes(const Tensor& t, const F& convert) {
  Tensor bytes(t.shape(), DType::u8);
  auto* to = bytes.data<std::uint8_t>();
  with_values(t, [&](auto values) {
    for (const auto v : values)
      *to++ = static_cast<std::uint8_t>(std::nearbyint(convert(static_cast<double>(v))));
  });
  return bytes;
}

// u8 of the same shape.
Tensor as_bytes(const std::string& where, const io::NpyArray& array,
                std::vector<std::string>& notes) {
  const Tensor& t = array.values;
  if (array.dtype == "uint8") return t;
  if (array.dtype == "bool") {
    notes.push_back("pictures of truth values: False is taken as 0, True as 255");
    return to_bytes(t, [](double v) { return v * 255; });
  }
  const Range r = range_of(t);
  const bool real = t.dtype() != DType::i64;
  const std::string range =
      fmt::format("{} pictures from {:.6g} to {:.6g}", array.dtype, r.low, r.high);
  if (!r.finite)
    throw Error(where, fmt::format("{} pictures hold values that are not finite numbers, expected "
                                   "uint8; numpy.isfinite(x) tells where",
                                   array.dtype));
  if (real && r.low >= 0 && r.high <= 1) {
    notes.push_back(range + " are taken as shares of 255");
    return to_bytes(t, [](double v) { return v * 255; });
  }
  if (real && r.low == -1 && r.high == 1) {
    notes.push_back(range + " are taken as -1 for 0 and 1 for 255");
    return to_bytes(t, [](double v) { return (v + 1) * 127.5; });
  }
  if (r.whole && r.low >= 0 && r.high <= 255) {
    notes.push_back(range + " are taken as whole numbers of 0..255");
    return to_bytes(t, [](double v) { return v; });
  }
  std::string advice = "((x - x.min()) / (x.max() - x.min()) * 255).round().astype(\"uint8\")";
  if (r.low >= 0 && r.high <= 255) advice = "x.round().astype(\"uint8\")";
  if (array.dtype == "uint16") advice = "(x // 257).astype(\"uint8\") if they use all 16 bits";
  throw Error(where,
              fmt::format("{}, expected uint8, or floats in [0, 1]: save {}", range, advice));
}

// [N,C,H,W] -> [N,H,W,C]
Tensor channels_last(const Tensor& t) {
  const std::int64_t n = t.dim(0), c = t.dim(1), pixels = t.dim(2) * t.dim(3);
  Tensor out({n, t.dim(2), t.dim(3), c}, DType::u8);
  const auto* from = t.data<std::uint8_t>();
  auto* to = out.data<std::uint8_t>();
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t p = 0; p < pixels; ++p)
      for (std::int64_t k = 0; k < c; ++k) *to++ = from[(i * c + k) * pixels + p];
  return out;
}

// --- labels ------------------------------------------------------------------------------------

// The column of the single 1 in each row of [n,K]; undefined unless all rows are like that.
Tensor from_one_hot(const Tensor& t) {
  const std::int64_t n = t.dim(0), k = t.dim(1);
  Tensor labels({n}, DType::i64);
  auto* to = labels.data<std::int64_t>();
  const bool fits = with_values(t, [&](auto values) {
    for (std::int64_t i = 0; i < n; ++i) {
      const auto row = values.subspan(static_cast<std::size_t>(i * k), static_cast<std::size_t>(k));
      const auto one = std::find(row.begin(), row.end(), 1);
      if (one == row.end() || std::count(row.begin(), row.end(), 0) != k - 1) return false;
      to[i] = one - row.begin();
    }
    return true;
  });
  return fits ? labels : Tensor();
}

}  // namespace

Tensor images_from_array(const std::string& where, const io::NpyArray& array,
                         std::vector<std::string>& notes) {
  const int axis = channel_axis(where, array);
  const Shape& s = array.values.shape();
  Tensor bytes = as_bytes(where, array, notes);
  if (axis == 3) return bytes;
  if (axis == -1) return bytes.reshape({s[0], s[1], s[2], 1});
  notes.push_back(fmt::format("the array {} is taken as [N,C,H,W], channels first", s.str()));
  return channels_last(bytes);
}

Tensor labels_from_array(const std::string& where, const io::NpyArray& array, std::int64_t n,
                         std::vector<std::string>& notes) {
  Tensor t = array.values;
  const Shape s = t.shape();
  const auto is = [&](const Shape& shape) { return s == shape; };
  if (s.rank() >= 1 && s[0] != n && !is({1, n}))
    throw Error(where, fmt::format("holds {} labels for {} images", s[0], n));
  if (s.rank() == 2 && s[1] > 1 && !(is({1, n}) && n > 1)) {
    t = from_one_hot(t);
    if (!t.defined())
      throw Error(where,
                  fmt::format("expected labels [N], or [N,K] with a single 1 in each row, got {} "
                              "{}: one label each is needed, as x.argmax(axis=1) gives where the "
                              "columns are scores",
                              array.dtype, s.str()));
    notes.push_back(fmt::format("labels {} are taken as one-hot: the column of the 1", s.str()));
    return t;
  }
  if (!is({n}) && !is({n, 1}) && !is({1, n}))
    throw Error(where, fmt::format("expected labels [N] of whole numbers, got {} {}: save "
                                   "x.reshape(-1).astype(\"int64\") if there is one for each image",
                                   array.dtype, s.str()));
  if (t.dtype() == DType::f32 || t.dtype() == DType::f64) {
    const Range r = range_of(t);
    if (!r.finite || !r.whole || std::abs(r.low) > 1e9 || std::abs(r.high) > 1e9)
      throw Error(
          where, fmt::format("expected labels that are whole numbers, got {} from {:.6g} to {:.6g}",
                             array.dtype, r.low, r.high));
    notes.push_back(fmt::format("{} labels are taken as whole numbers", array.dtype));
  }
  Tensor labels({n}, DType::i64);
  auto* to = labels.data<std::int64_t>();
  with_values(t, [&](auto values) {
    std::transform(values.begin(), values.end(), to,
                   [](auto v) { return static_cast<std::int64_t>(v); });
  });
  return labels;
}

}  // namespace sfumato::data
