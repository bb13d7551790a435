#include "tensor/arithmetic.h"

#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

struct Plus {
  template <class T>
  constexpr T operator()(T a, T b) const {
    return a + b;
  }
};

template <class T>
struct Times {
  T factor;
  constexpr T operator()(T x) const { return factor * x; }
};

template <class T>
struct AddScaled {
  T* y;
  const T* x;
  Wide<T> factor;
  constexpr void operator()(std::int64_t i) const { y[i] = static_cast<T>(y[i] + factor * x[i]); }
};

// [outer, reduced, inner] -> [outer, inner]
Tensor sum_middle(const Tensor& g, std::int64_t outer, std::int64_t reduced, std::int64_t inner) {
  Tensor y({outer, inner}, wide(g.kind()));
  dispatch_float("reduce", g.kind(), [&]<class T>() {
    kernels::on<T>(g.device()).sum_rows(outer, reduced, inner, g.data<T>(), y.data<Wide<T>>());
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
  return result.reshape(shape).to(g.dtype());
}

Tensor add(const Tensor& a, const Tensor& b) {
  expect_kind("add", "second input", b, a.kind());
  return dispatch_float("add", a.kind(),
                        [&]<class T>() { return broadcast_map<T>("add", Plus{}, a, b); });
}

Tensor scale(const Tensor& x, double factor) {
  return dispatch_float("scale", x.kind(), [&]<class T>() {
    return map<T>(Times<Wide<T>>{static_cast<Wide<T>>(factor)}, x);
  });
}

void add_scaled(Tensor& y, const Tensor& x, double factor) {
  expect_shape("add_scaled", "summand", x, y.shape());
  expect_kind("add_scaled", "summand", x, y.kind());
  dispatch_float("add_scaled", y.kind(), [&]<class T>() {
    for_each(y.device(), y.size(),
             AddScaled<T>{y.data<T>(), x.data<T>(), static_cast<Wide<T>>(factor)});
  });
}

Tensor sum(const Tensor& x) {
  Tensor y({}, {DType::f64, x.device()});
  dispatch_float("sum", x.dtype(), [&]<class T>() {
    kernels::on<T>(x.device()).sum(x.size(), x.data<T>(), y.data<double>());
  });
  return y;
}

Tensor sum_of_squares(const Tensor& x) {
  Tensor y({}, {DType::f64, x.device()});
  dispatch_float("sum_of_squares", x.dtype(), [&]<class T>() {
    kernels::on<T>(x.device()).sum_of_squares(x.size(), x.data<T>(), y.data<double>());
  });
  return y;
}

}  // namespace sfumato
