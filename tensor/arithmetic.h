// Elementwise arithmetic and broadcasting on plain tensors, without recording: for the backward pass, the optimiser
// and the samplers.
#pragma once
#include <algorithm>
#include <cstddef>
#include <utility>

#include "tensor/for_each.h"
#include "tensor/tensor.h"

namespace sfumato {
inline namespace SFUMATO_COMPILED {

namespace elementwise {

template <class T, class F, std::size_t n>
struct Map {
  F f;
  T* y;
  const T* x[n];

  constexpr void operator()(std::int64_t i) const { set(i, std::make_index_sequence<n>{}); }
  template <std::size_t... k>
  constexpr void set(std::int64_t i, std::index_sequence<k...>) const {
    y[i] = static_cast<T>(f(static_cast<Wide<T>>(x[k][i])...));
  }
};

// Whether an input moves along the innermost axis is a template argument: a stride known at run time only makes the
// CPU 2.4 times slower.
template <class T, class F, bool a_moves, bool b_moves>
struct BroadcastMap {
  F f;
  T* y;
  const T *a, *b;
  int rank;
  // Of the output's axes. The strides are those of the inputs, 0 where an input is stretched.
  std::int64_t extent[Shape::kMaxRank], stride_a[Shape::kMaxRank], stride_b[Shape::kMaxRank];

  struct Row {
    F f;
    T* y;
    const T *a, *b;
    constexpr void operator()(std::int64_t j) const {
      y[j] = static_cast<T>(
          f(static_cast<Wide<T>>(a[a_moves ? j : 0]), static_cast<Wide<T>>(b[b_moves ? j : 0])));
    }
  };
  constexpr Row operator()(std::int64_t row) const {
    Row r{f, y + row * (rank ? extent[rank - 1] : 1), a, b};
    for (int i = rank - 2; i >= 0; --i) {
      r.a += row % extent[i] * stride_a[i];
      r.b += row % extent[i] * stride_b[i];
      row /= extent[i];
    }
    return r;
  }
};

// Stride of an input of shape `s` along each of `rank` axes of the output; 0 where the input is stretched.
inline void broadcast_strides(const Shape& s, int rank, std::int64_t* stride) {
  std::int64_t step = 1;
  for (int i = s.rank() - 1; i >= 0; --i) {
    stride[i + rank - s.rank()] = s[i] == 1 ? 0 : step;
    step *= s[i];
  }
}

}  // namespace elementwise

// y[i] = f(x[i]...) for tensors of one shape and kind, whose elements are T. f is a function as for_each.h wants it, of
// numbers Wide<T>.
template <class T, class F, class... Tensors>
Tensor map(F f, const Tensor& x, const Tensors&... rest) {
  Tensor y(x.shape(), x.kind());
  for_each(x.device(), y.size(),
           elementwise::Map<T, F, 1 + sizeof...(rest)>{
               f, y.data<T>(), {x.data<T>(), rest.template data<T>()...}});
  return y;
}

// y = f(a, b) with NumPy broadcasting, for tensors of one kind; throws Error naming `op` when the shapes do not fit.
template <class T, class F>
Tensor broadcast_map(const char* op, F f, const Tensor& a, const Tensor& b) {
  if (a.shape() == b.shape()) return map<T>(f, a, b);
  Tensor y(broadcast(op, a.shape(), b.shape()), a.kind());
  if (y.size() == 0) return y;
  const int rank = y.shape().rank();
  const std::int64_t cols = rank ? y.dim(-1) : 1;
  const auto run = [&]<bool a_moves, bool b_moves>() {
    elementwise::BroadcastMap<T, F, a_moves, b_moves> rows{
        f, y.data<T>(), a.data<T>(), b.data<T>(), rank, {}, {}, {}};
    std::copy(y.shape().begin(), y.shape().end(), rows.extent);
    elementwise::broadcast_strides(a.shape(), rank, rows.stride_a);
    elementwise::broadcast_strides(b.shape(), rank, rows.stride_b);
    for_each_row(y.device(), y.size() / cols, cols, rows);
  };
  const auto moves = [&](const Shape& s) { return s.rank() > 0 && s[-1] == cols; };
  if (moves(a.shape()) && moves(b.shape())) {
    run.template operator()<true, true>();
  } else if (moves(a.shape())) {
    run.template operator()<true, false>();
  } else {
    run.template operator()<false, true>();
  }
  return y;
}

}  // namespace SFUMATO_COMPILED

// The adjoint of broadcasting: sums g over the axes along which `shape` was stretched to g's shape.
// The one place where gradients of broadcast operations are reduced.
Tensor reduce_to(const Tensor& g, const Shape& shape);

Tensor add(const Tensor& a, const Tensor& b);
Tensor scale(const Tensor& x, double factor);
// y += factor * x, same shape and kind.
void add_scaled(Tensor& y, const Tensor& x, double factor);
// Σ x and Σ x² of f32 or f64 -> [] f64 on x's device, added up in double and in an order that the size alone decides.
Tensor sum(const Tensor& x);
Tensor sum_of_squares(const Tensor& x);

}  // namespace sfumato
