#include "tensor/arithmetic.h"

#include <vector>

#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

// Σ term(x[i]) in double: partial sums over fixed ranges, added in their order.
template <class T, class F>
double ordered_sum(const Tensor& x, F term) {
  const T* p = x.data<T>();
  const std::int64_t parts = (x.size() + kElementGrain - 1) / kElementGrain;
  Tensor partial({parts}, DType::f64);
  double* sums = partial.data<double>();
  parallel_ranges(x.size(), kElementGrain, [=](std::int64_t begin, std::int64_t end) {
    double s = 0;
    for (std::int64_t i = begin; i < end; ++i) s += term(static_cast<double>(p[i]));
    sums[begin / kElementGrain] = s;
  });
  double total = 0;
  for (std::int64_t i = 0; i < parts; ++i) total += sums[i];
  return total;
}

// [outer, reduced, inner] -> [outer, inner]
Tensor sum_middle(const Tensor& g, std::int64_t outer, std::int64_t reduced, std::int64_t inner) {
  Tensor y({outer, inner}, g.dtype());
  dispatch_float("reduce", g.dtype(), [&]<class T>() {
    kernels::table<T>().sum_rows(outer, reduced, inner, g.data<T>(), y.data<T>());
  });
  return y;
}

}  // namespace

Tensor reduce_to(const Tensor& g, const Shape& shape) {
  if (g.shape() == shape) return g;
  const int rank = g.shape().rank(), offset = rank - shape.rank();
  auto stretched = [&](int axis) {
    return g.dim(axis) != 1 && (axis < offset || shape[axis - offset] == 1);
  };
  // Each run of neighbouring stretched axes is one sum over the middle of [outer, run, inner].
  Tensor result = g;
  std::int64_t inner = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    if (!stretched(axis)) {
      inner *= g.dim(axis);
      continue;
    }
    std::int64_t run = g.dim(axis);
    while (axis > 0 && (stretched(axis - 1) || g.dim(axis - 1) == 1)) run *= g.dim(--axis);
    result = sum_middle(result, run ? result.size() / (run * inner) : 1, run, inner);
  }
  return result.reshape(shape);
}

Tensor add(const Tensor& a, const Tensor& b) {
  return dispatch_float("add", a.dtype(), [&]<class T>() {
    return broadcast_map<T>(
        "add", [](T x, T y) { return x + y; }, a, b);
  });
}

Tensor scale(const Tensor& x, double factor) {
  return dispatch_float("scale", x.dtype(), [&]<class T>() {
    return map<T>([f = static_cast<T>(factor)](T v) { return f * v; }, x);
  });
}

void add_scaled(Tensor& y, const Tensor& x, double factor) {
  expect_shape("add_scaled", "summand", x, y.shape());
  dispatch_float("add_scaled", y.dtype(), [&]<class T>() {
    T* to = y.data<T>();
    const T* from = x.data<T>();
    const T f = static_cast<T>(factor);
    parallel_ranges(y.size(), kElementGrain, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) to[i] += f * from[i];
    });
  });
}

double sum_of_squares(const Tensor& x) {
  return dispatch_float("sum_of_squares", x.dtype(), [&]<class T>() {
    return ordered_sum<T>(x, [](double v) { return v * v; });
  });
}

double sum(const Tensor& x) {
  return dispatch_float("sum", x.dtype(),
                        [&]<class T>() { return ordered_sum<T>(x, [](double v) { return v; }); });
}

}  // namespace sfumato
