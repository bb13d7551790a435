// Tensor: a cheap handle to a contiguous, row-major array. Copying a Tensor copies the handle, not the elements. A
// slice of the outermost axis and a reshape are views; everything else copies.
//
// Const is shallow: a const Tensor's elements can be written through a copy of the handle. Threads: handles may be
// copied and destroyed from any thread, as std::shared_ptr; elements are shared without a lock.
//
// The elements are in the memory of the CPU or of a GPU (device.h). Work on those of a GPU is done in the order in which
// it was asked for; only to(Device::cpu) and item() wait for it.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>

#include "tensor/dtype.h"
#include "tensor/error.h"
#include "tensor/shape.h"

namespace sfumato {

class Tensor {
 public:
  // Undefined: no shape, no elements. Only defined(), data_or_null() and assignment may be used on it.
  Tensor() = default;
  // Uninitialised elements.
  explicit Tensor(const Shape& shape, Kind kind = {});
  Tensor(const Tensor& other);
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor other) noexcept;
  ~Tensor();

  // Throws Error for a value outside an integer dtype's range.
  static Tensor full(const Shape& shape, double value, Kind kind = {});
  static Tensor zeros(const Shape& shape, Kind kind = {}) { return full(shape, 0, kind); }
  // On the CPU, a copy of `values`; throws Error when their count is not shape.size().
  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values) {
    Tensor t(shape, dtype_of<T>());
    t.fill_from(values.data(), values.size());
    return t;
  }
  template <class T>
  static Tensor from(const Shape& shape, std::initializer_list<T> values) {
    return from(shape, std::span<const T>(values.begin(), values.size()));
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(int i) const { return shape_[i]; }
  std::int64_t size() const { return shape_.size(); }
  std::size_t bytes() const { return static_cast<std::size_t>(size()) * size_of(kind_.dtype); }
  DType dtype() const { return kind_.dtype; }
  Device device() const { return kind_.device; }
  Kind kind() const { return kind_; }

  // True when no other handle shares the storage.
  bool unique() const;

  // Where the elements are: an address on their device. Throws Error when T is not the tensor's dtype.
  template <class T>
  T* data() {
    expect(dtype_of<T>());
    return static_cast<T*>(begin_);
  }
  template <class T>
  const T* data() const {
    expect(dtype_of<T>());
    return static_cast<const T*>(begin_);
  }
  // The same, or null for an undefined tensor: an optional argument of a kernel.
  template <class T>
  T* data_or_null() {
    return defined() ? data<T>() : nullptr;
  }
  template <class T>
  const T* data_or_null() const {
    return defined() ? data<T>() : nullptr;
  }
  const void* address() const { return begin_; }

  // The elements themselves. These throw Error when the elements are not on the CPU; values() also when T is not the
  // tensor's dtype.
  template <class T>
  std::span<T> values() {
    expect_on_cpu();
    return {data<T>(), static_cast<std::size_t>(size())};
  }
  template <class T>
  std::span<const T> values() const {
    expect_on_cpu();
    return {data<T>(), static_cast<std::size_t>(size())};
  }
  void* raw() {
    expect_on_cpu();
    return begin_;
  }
  const void* raw() const {
    expect_on_cpu();
    return begin_;
  }

  // A view with another shape; one extent may be -1 and is worked out. Throws when sizes differ.
  Tensor reshape(std::initializer_list<std::int64_t> extents) const;
  Tensor reshape(const Shape& shape) const;
  // A view of rows [begin, end) of the outermost axis.
  Tensor slice(std::int64_t begin, std::int64_t end) const;
  Tensor clone() const;
  // Converted elements (the same handle when nothing changes). For a value outside an integer dtype's range: throws Error
  // on the CPU; on a GPU the nearest integer of the range, 0 for NaN.
  Tensor to(DType dtype) const;
  // The same elements on another device (the same handle when they are there).
  Tensor to(Device device) const;
  // Every element becomes `value`. Throws as full() does.
  void fill(double value);
  // Copies the elements of `source` (same shape and dtype, any device) into this tensor's storage.
  void copy_from(const Tensor& source);
  // The only element of a tensor of size 1, as double. On a GPU it waits until the element is computed.
  double item() const;

 private:
  struct Storage;
  void expect(DType dtype) const;
  void expect_on_cpu() const;
  void fill_from(const void* values, std::size_t count);

  Storage* storage_ = nullptr;
  void* begin_ = nullptr;
  Shape shape_;
  Kind kind_;
};

// Calls f.operator()<T>() with the floating-point type of `dtype`; throws Error naming `op` for the
// other types.
template <class F>
decltype(auto) dispatch_float(const char* op, DType dtype, F&& f) {
  if (dtype == DType::f32) return f.template operator()<float>();
  if (dtype == DType::f64) return f.template operator()<double>();
  throw Error(op, std::string("expected f32 or f64, got ") + name(dtype));
}
// The same for the types that a device computes in: a GPU also in bf16.
template <class F>
decltype(auto) dispatch_float(const char* op, Kind kind, F&& f) {
  if (kind.dtype != DType::bf16) return dispatch_float(op, kind.dtype, std::forward<F>(f));
  if (!computes_in(kind))
    throw Error(op, "bf16 is computed on a GPU, the CPU computes in f32 and f64");
  return f.template operator()<bf16>();
}

// Throws Error naming `op` and the argument `what` unless the tensor has that shape, rank, dtype or kind.
void expect_shape(const char* op, const char* what, const Tensor& t, const Shape& shape);
void expect_rank(const char* op, const char* what, const Tensor& t, int rank);
void expect_dtype(const char* op, const char* what, const Tensor& t, DType dtype);
void expect_kind(const char* op, const char* what, const Tensor& t, Kind kind);

// A new tensor with the axes in the order `order` (a permutation of 0..rank-1). Copies.
Tensor permute(const Tensor& x, std::span<const int> order);
inline Tensor permute(const Tensor& x, std::initializer_list<int> order) {
  return permute(x, std::span<const int>(order.begin(), order.size()));
}

}  // namespace sfumato
