#include "tensor/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "tensor/backend.h"
#include "tensor/memory.h"
#include "tensor/parallel.h"

namespace sfumato {

// A count of handles. On the CPU it is the head of a block, whose elements follow at the next 64-byte boundary; the
// elements on another device are a block of their own, since the CPU cannot write its head there.
struct alignas(64) Tensor::Storage {
  std::atomic<int> references;
  std::size_t bytes;  // of the CPU's block
  Device device;
  void* elements;
};

Tensor::Tensor(const Shape& shape, Kind kind) : shape_(shape), kind_(kind) {
  const bool on_cpu = kind.device == Device::cpu;
  const std::size_t total = sizeof(Storage) + (on_cpu ? bytes() : 0);
  void* block = memory::allocate(total);
  begin_ = static_cast<std::byte*>(block) + sizeof(Storage);
  if (!on_cpu) {
    try {
      begin_ = backend(kind.device).allocate(bytes());
    } catch (...) {
      memory::release(block, total);
      throw;
    }
  }
  storage_ = new (block) Storage{1, total, kind.device, begin_};
}

Tensor::Tensor(const Tensor& other)
    : storage_(other.storage_), begin_(other.begin_), shape_(other.shape_), kind_(other.kind_) {
  if (storage_) storage_->references.fetch_add(1, std::memory_order_relaxed);
}

Tensor::Tensor(Tensor&& other) noexcept
    : storage_(std::exchange(other.storage_, nullptr)),
      begin_(std::exchange(other.begin_, nullptr)),
      shape_(other.shape_),
      kind_(other.kind_) {}

Tensor& Tensor::operator=(Tensor other) noexcept {
  std::swap(storage_, other.storage_);
  std::swap(begin_, other.begin_);
  std::swap(shape_, other.shape_);
  std::swap(kind_, other.kind_);
  return *this;
}

Tensor::~Tensor() {
  if (!storage_ || storage_->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (storage_->device != Device::cpu) backend(storage_->device).release(storage_->elements);
  memory::release(storage_, storage_->bytes);
}

bool Tensor::unique() const {
  return storage_ && storage_->references.load(std::memory_order_acquire) == 1;
}

void Tensor::expect(DType dtype) const {
  if (!defined()) throw Error("tensor", "used before it was given a value");
  if (dtype != kind_.dtype)
    throw Error("tensor",
                fmt::format("expected {}, the tensor holds {}", name(dtype), name(kind_.dtype)));
}

void Tensor::expect_on_cpu() const {
  if (kind_.device != Device::cpu)
    throw Error("tensor", fmt::format("its elements are on {}: .to(Device::cpu) brings them here",
                                      name(kind_.device)));
}

void Tensor::fill_from(const void* values, std::size_t count) {
  if (count != static_cast<std::size_t>(size()))
    throw Error("tensor",
                fmt::format("shape {} needs {} values, got {}", shape_.str(), size(), count));
  if (count) std::memcpy(begin_, values, bytes());
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
  Tensor t(shape_, kind_);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device device) const {
  if (device == kind_.device) return *this;
  Tensor t(shape_, {kind_.dtype, device});
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  expect_dtype("copy", "source", source, kind_.dtype);
  expect_shape("copy", "source", source, shape_);
  const Device gpu = kind_.device == Device::cpu ? source.device() : kind_.device;
  if (gpu != Device::cpu) {
    backend(gpu).copy(kind_.device, begin_, source.device(), source.begin_, bytes());
    return;
  }
  auto* to = static_cast<std::byte*>(begin_);
  const auto* from = static_cast<const std::byte*>(source.begin_);
  parallel_ranges(static_cast<std::int64_t>(bytes()), 1 << 18,
                  [=](std::int64_t b, std::int64_t e) { std::memcpy(to + b, from + b, e - b); });
}

double Tensor::item() const {
  if (!defined() || size() != 1)
    throw Error("item", fmt::format("expected one element, got shape {}", shape_.str()));
  return to(Device::cpu).to(DType::f64).data<double>()[0];
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

void expect_kind(const char* op, const char* what, const Tensor& t, Kind kind) {
  if (!t.defined()) throw Error(op, fmt::format("{} is undefined, expected {}", what, name(kind)));
  if (!(t.kind() == kind))
    throw Error(op, fmt::format("{} is {}, expected {}", what, name(t.kind()), name(kind)));
}

}  // namespace sfumato
