// Functions of tensor.h that write elements: filled, converted, permuted.
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "tensor/for_each.h"
#include "tensor/tensor.h"

namespace sfumato {
namespace {

// Whether an integer type T holds the number, cut to an integer.
template <class T>
constexpr bool fits(double value) {
  constexpr double kEnd =
      2.0 * static_cast<double>(std::uint64_t{1} << (std::numeric_limits<T>::digits - 1));
  return value >= static_cast<double>(std::numeric_limits<T>::min()) && value < kEnd;
}

// Throws Error for a number that an integer T lacks: the cast would be undefined behaviour.
template <class T>
void expect_fits(double value) {
  if constexpr (std::is_integral_v<T>) {
    if (!fits<T>(value))
      throw Error("tensor",
                  fmt::format("a tensor of integers of {} bytes cannot hold {}", sizeof(T), value));
  }
}

template <class T>
struct Fill {
  T* to;
  T value;
  constexpr void operator()(std::int64_t i) const { to[i] = value; }
};

template <class From, class To>
struct Convert {
  const From* from;
  To* to;
  constexpr void operator()(std::int64_t i) const { to[i] = convert(from[i]); }

  static constexpr To convert(From v) {
    if constexpr (std::is_same_v<To, bf16>) {
      return bf16(static_cast<float>(v));
    } else if constexpr (std::is_integral_v<To> && !std::is_same_v<From, To>) {
      const auto number = static_cast<double>(v);
      if (fits<To>(number)) return static_cast<To>(v);
      return number != number ? To{0}
             : number < 0     ? std::numeric_limits<To>::min()
                              : std::numeric_limits<To>::max();
    } else {
      return static_cast<To>(v);
    }
  }
};

// Element j of row r of the result. `stride` is in elements of the source.
template <class T>
struct Permute {
  const T* from;
  T* to;
  int rank;
  std::int64_t extent[Shape::kMaxRank], stride[Shape::kMaxRank];  // of the result's axes

  struct Row {
    const T* from;
    T* to;
    std::int64_t stride;
    constexpr void operator()(std::int64_t j) const { to[j] = from[j * stride]; }
  };
  constexpr Row operator()(std::int64_t row) const {
    Row r{from, to + row * extent[rank - 1], stride[rank - 1]};
    for (int i = rank - 2; i >= 0; --i) {
      r.from += row % extent[i] * stride[i];
      row /= extent[i];
    }
    return r;
  }
};

}  // namespace

void Tensor::fill(double value) {
  dispatch(dtype(), [&]<class T>() {
    expect_fits<T>(value);
    for_each(device(), size(), Fill<T>{data<T>(), Convert<double, T>::convert(value)});
  });
}

Tensor Tensor::full(const Shape& shape, double value, Kind kind) {
  Tensor t(shape, kind);
  t.fill(value);
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == kind_.dtype) return *this;
  Tensor t(shape_, {dtype, kind_.device});
  dispatch(kind_.dtype, [&]<class From>() {
    dispatch(dtype, [&]<class To>() {
      if (device() == Device::cpu && std::is_integral_v<To>)
        for (const From v : values<From>()) expect_fits<To>(static_cast<double>(v));
      for_each(device(), size(), Convert<From, To>{data<From>(), t.data<To>()});
    });
  });
  return t;
}

Tensor permute(const Tensor& x, std::span<const int> order) {
  const int rank = x.shape().rank();
  std::array<std::int64_t, Shape::kMaxRank> extent{}, stride{}, source{};
  // Without elements the extents' product may be beyond 64 bits, and nothing is read.
  std::int64_t s = x.size() == 0 ? 0 : 1;
  for (int i = rank - 1; i >= 0; --i) {
    source[i] = s;
    s *= x.dim(i);
  }
  unsigned seen = 0;
  int k = 0;
  for (int axis : order) {
    if (axis < 0 || axis >= rank || (seen >> axis & 1) || k >= rank)
      throw Error("permute",
                  fmt::format("the order is not a permutation of the axes of {}", x.shape().str()));
    seen |= 1u << axis;
    extent[k] = x.dim(axis);
    stride[k++] = source[axis];
  }
  if (k != rank)
    throw Error("permute", fmt::format("expected {} axes, got {}", rank, order.size()));
  Tensor y(Shape(extent.data(), extent.data() + rank), x.kind());
  if (y.size() == 0) return y;
  const std::int64_t cols = rank ? extent[rank - 1] : 1;
  dispatch(x.dtype(), [&]<class T>() {
    Permute<T> rows{x.data<T>(), y.data<T>(), rank, {}, {}};
    std::copy(extent.begin(), extent.end(), rows.extent);
    std::copy(stride.begin(), stride.end(), rows.stride);
    if (rank == 0) {  // one element, in one row
      rows.rank = 1;
      rows.extent[0] = rows.stride[0] = 1;
    }
    for_each_row(x.device(), y.size() / cols, cols, rows);
  });
  return y;
}

}  // namespace sfumato
