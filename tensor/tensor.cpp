#include "tensor/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include "tensor/memory.h"
#include "tensor/parallel.h"

namespace sfumato {

const char* name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i64:
      return "i64";
    case DType::u8:
      return "u8";
  }
  return "?";
}

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 4;
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
  }
  return 0;
}

// The header of a block; the numbers follow at the next 64-byte boundary.
struct alignas(64) Tensor::Storage {
  std::atomic<int> references;
  std::size_t bytes;  // of the whole block
};

Tensor::Tensor(const Shape& shape, DType dtype) : shape_(shape), dtype_(dtype) {
  const std::size_t total = sizeof(Storage) + bytes();
  void* block = memory::allocate(total);
  storage_ = new (block) Storage{1, total};
  begin_ = static_cast<std::byte*>(block) + sizeof(Storage);
}

Tensor::Tensor(const Tensor& other)
    : storage_(other.storage_), begin_(other.begin_), shape_(other.shape_), dtype_(other.dtype_) {
  if (storage_) storage_->references.fetch_add(1, std::memory_order_relaxed);
}

Tensor::Tensor(Tensor&& other) noexcept
    : storage_(std::exchange(other.storage_, nullptr)),
      begin_(std::exchange(other.begin_, nullptr)),
      shape_(other.shape_),
      dtype_(other.dtype_) {}

Tensor& Tensor::operator=(Tensor other) noexcept {
  std::swap(storage_, other.storage_);
  std::swap(begin_, other.begin_);
  std::swap(shape_, other.shape_);
  std::swap(dtype_, other.dtype_);
  return *this;
}

Tensor::~Tensor() {
  if (storage_ && storage_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    memory::release(storage_, storage_->bytes);
}

bool Tensor::unique() const {
  return storage_ && storage_->references.load(std::memory_order_acquire) == 1;
}

void Tensor::expect(DType dtype) const {
  if (!defined()) throw Error("tensor", "used before it was given a value");
  if (dtype != dtype_)
    throw Error("tensor",
                fmt::format("expected {}, the tensor holds {}", name(dtype), name(dtype_)));
}

void Tensor::fill_from(const void* values, std::size_t count) {
  if (count != static_cast<std::size_t>(size()))
    throw Error("tensor",
                fmt::format("shape {} needs {} values, got {}", shape_.str(), size(), count));
  if (count) std::memcpy(begin_, values, bytes());
}

// Throws Error for a number that an integer T lacks: the cast would be undefined behaviour.
template <class T>
static void expect_fits(double value) {
  if constexpr (std::is_integral_v<T>) {
    const double end = std::ldexp(1.0, std::numeric_limits<T>::digits);
    if (!(value >= static_cast<double>(std::numeric_limits<T>::min()) && value < end))
      throw Error("tensor",
                  fmt::format("a tensor of integers of {} bytes cannot hold {}", sizeof(T), value));
  }
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype) {
  Tensor t(shape, dtype);
  auto fill = [&]<class T>() {
    expect_fits<T>(value);
    T* p = t.data<T>();
    const T v = static_cast<T>(value);
    parallel_ranges(t.size(), 1 << 16,
                    [=](std::int64_t b, std::int64_t e) { std::fill(p + b, p + e, v); });
  };
  switch (dtype) {
    case DType::f32:
      fill.operator()<float>();
      break;
    case DType::f64:
      fill.operator()<double>();
      break;
    case DType::i64:
      fill.operator()<std::int64_t>();
      break;
    case DType::u8:
      fill.operator()<std::uint8_t>();
      break;
  }
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.size() != size())
    throw Error("reshape", fmt::format("{} does not fit into {}", shape_.str(), shape.str()));
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::reshape(std::initializer_list<std::int64_t> extents) const {
  std::int64_t known = 1;
  for (auto e : extents) known *= e == -1 ? 1 : e;
  std::array<std::int64_t, Shape::kMaxRank> out{};
  if (extents.size() > out.size()) return reshape(Shape(extents));  // throws
  std::size_t i = 0;
  for (auto e : extents) out[i++] = e == -1 && known != 0 ? size() / known : e;
  return reshape(Shape(out.data(), out.data() + extents.size()));
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  if (shape_.rank() == 0 || begin < 0 || begin > end || end > shape_[0])
    throw Error("slice", fmt::format("[{}, {}) is out of range for {}", begin, end, shape_.str()));
  Tensor t = *this;
  t.shape_ = shape_.with(0, end - begin);
  const std::size_t row = shape_[0] ? bytes() / static_cast<std::size_t>(shape_[0]) : 0;
  t.begin_ = static_cast<std::byte*>(begin_) + row * static_cast<std::size_t>(begin);
  return t;
}

Tensor Tensor::clone() const {
  Tensor t(shape_, dtype_);
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  expect_dtype("copy", "source", source, dtype_);
  expect_shape("copy", "source", source, shape_);
  auto* to = static_cast<std::byte*>(begin_);
  const auto* from = static_cast<const std::byte*>(source.begin_);
  parallel_ranges(static_cast<std::int64_t>(bytes()), 1 << 18,
                  [=](std::int64_t b, std::int64_t e) { std::memcpy(to + b, from + b, e - b); });
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor t(shape_, dtype);
  auto convert = [&]<class From, class To>() {
    std::transform(data<From>(), data<From>() + size(), t.data<To>(), [](From v) {
      expect_fits<To>(static_cast<double>(v));
      return static_cast<To>(v);
    });
  };
  auto from = [&]<class From>() {
    switch (dtype) {
      case DType::f32:
        return convert.operator()<From, float>();
      case DType::f64:
        return convert.operator()<From, double>();
      case DType::i64:
        return convert.operator()<From, std::int64_t>();
      case DType::u8:
        return convert.operator()<From, std::uint8_t>();
    }
  };
  switch (dtype_) {
    case DType::f32:
      from.operator()<float>();
      break;
    case DType::f64:
      from.operator()<double>();
      break;
    case DType::i64:
      from.operator()<std::int64_t>();
      break;
    case DType::u8:
      from.operator()<std::uint8_t>();
      break;
  }
  return t;
}

double Tensor::item() const {
  if (!defined() || size() != 1)
    throw Error("item", fmt::format("expected one element, got shape {}", shape_.str()));
  return to(DType::f64).data<double>()[0];
}

void expect_shape(const char* op, const char* what, const Tensor& t, const Shape& shape) {
  if (!t.defined()) throw Error(op, fmt::format("{} is undefined, expected {}", what, shape.str()));
  if (!(t.shape() == shape))
    throw Error(op,
                fmt::format("{} has shape {}, expected {}", what, t.shape().str(), shape.str()));
}

void expect_rank(const char* op, const char* what, const Tensor& t, int rank) {
  if (!t.defined()) throw Error(op, fmt::format("{} is undefined, expected rank {}", what, rank));
  if (t.shape().rank() != rank)
    throw Error(op, fmt::format("{} has shape {}, expected rank {}", what, t.shape().str(), rank));
}

void expect_dtype(const char* op, const char* what, const Tensor& t, DType dtype) {
  if (!t.defined()) throw Error(op, fmt::format("{} is undefined, expected {}", what, name(dtype)));
  if (t.dtype() != dtype)
    throw Error(op, fmt::format("{} is {}, expected {}", what, name(t.dtype()), name(dtype)));
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
  Tensor y(Shape(extent.data(), extent.data() + rank), x.dtype());
  if (y.size() == 0) return y;
  const std::size_t item = size_of(x.dtype());
  const std::int64_t inner = rank ? extent[rank - 1] : 1,
                     inner_stride = rank ? stride[rank - 1] : 1;
  const auto* from = static_cast<const std::byte*>(x.raw());
  auto* to = static_cast<std::byte*>(y.raw());
  parallel_ranges(y.size() / inner, 1 + 4096 / inner, [&](std::int64_t b, std::int64_t e) {
    for (std::int64_t row = b; row < e; ++row) {
      std::int64_t offset = 0, rest = row;
      for (int i = rank - 2; i >= 0; --i) {
        offset += rest % extent[i] * stride[i];
        rest /= extent[i];
      }
      for (std::int64_t j = 0; j < inner; ++j)
        std::memcpy(to + (row * inner + j) * item, from + (offset + j * inner_stride) * item, item);
    }
  });
  return y;
}

}  // namespace sfumato
