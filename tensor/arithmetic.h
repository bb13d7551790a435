// Elementwise arithmetic and broadcasting on plain tensors, without recording: for the backward pass, the optimiser
// and the samplers.
#pragma once
#include <algorithm>
#include <array>

#include "tensor/parallel.h"
#include "tensor/tensor.h"

namespace sfumato {

inline constexpr std::int64_t kElementGrain = 1 << 14;  // elements a task of pointwise work handles

// y[i] = f(x[i]...) for tensors of one shape and dtype; the value is in x.dtype().
template <class T, class F, class... Tensors>
Tensor map(F f, const Tensor& x, const Tensors&... rest) {
  Tensor y(x.shape(), x.dtype());
  T* out = y.data<T>();
  auto run = [&](const T* first, auto... others) {
    parallel_ranges(y.size(), kElementGrain, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = f(first[i], others[i]...);
    });
  };
  run(x.data<T>(), rest.template data<T>()...);
  return y;
}

// y = f(a, b) with NumPy broadcasting; throws Error naming `op` when the shapes do not fit.
template <class T, class F>
Tensor broadcast_map(const char* op, F f, const Tensor& a, const Tensor& b) {
  if (a.shape() == b.shape()) return map<T>(f, a, b);
  Tensor y(broadcast(op, a.shape(), b.shape()), a.dtype());
  if (y.size() == 0) return y;
  const int rank = y.shape().rank();
  // Stride of each input along each axis of the output; 0 where the input is stretched.
  auto strides = [&](const Shape& s) {
    std::array<std::int64_t, Shape::kMaxRank> stride{};
    std::int64_t step = 1;
    for (int i = s.rank() - 1; i >= 0; --i) {
      stride[i + rank - s.rank()] = s[i] == 1 ? 0 : step;
      step *= s[i];
    }
    return stride;
  };
  const auto sa = strides(a.shape()), sb = strides(b.shape());
  const std::int64_t inner = rank ? y.dim(-1) : 1;
  const std::int64_t ia = rank ? sa[rank - 1] : 0, ib = rank ? sb[rank - 1] : 0;
  const T *pa = a.data<T>(), *pb = b.data<T>();
  T* out = y.data<T>();
  const Shape shape = y.shape();
  const std::int64_t rows_a_task = std::max<std::int64_t>(1, kElementGrain / inner);
  parallel_ranges(y.size() / inner, rows_a_task, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T *x = pa, *z = pb;
      std::int64_t rest = row;
      for (int i = rank - 2; i >= 0; --i) {
        const std::int64_t j = rest % shape.begin()[i];
        rest /= shape.begin()[i];
        x += j * sa[i];
        z += j * sb[i];
      }
      T* o = out + row * inner;
      for (std::int64_t k = 0; k < inner; ++k) o[k] = f(x[k * ia], z[k * ib]);
    }
  });
  return y;
}

// The adjoint of broadcasting: sums g over the axes along which `shape` was stretched to g's shape.
// The one place where gradients of broadcast operations are reduced.
Tensor reduce_to(const Tensor& g, const Shape& shape);

Tensor add(const Tensor& a, const Tensor& b);
Tensor scale(const Tensor& x, double factor);
// y += factor * x, same shape and dtype.
void add_scaled(Tensor& y, const Tensor& x, double factor);
// Sum of squares in double, in fixed order.
double sum_of_squares(const Tensor& x);
double sum(const Tensor& x);

}  // namespace sfumato
