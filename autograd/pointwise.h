// Turns a struct of scalar math into a differentiable operation. The formula and its derivative are
// written once, for f32 and f64, for the CPU and the GPU (`constexpr` is what lets it run there), where elements of bf16
// are computed in f32:
//
//   struct Square {
//     static constexpr const char* name = "square";
//     template <class T> constexpr T fwd(T x) const { return x * x; }
//     template <class T> constexpr T bwd(T x, T /*y*/, T dy) const { return 2 * x * dy; }
//   };
//   Var square(const Var& x) { return pointwise(x, Square{}); }
//
// Two inputs: `fwd(a, b)`, `da(a, b, dy)`, `db(a, b, dy)`, with NumPy broadcasting.
#pragma once
#include "autograd/var.h"
#include "tensor/arithmetic.h"

namespace sfumato {
inline namespace SFUMATO_COMPILED {

// The functions of an operation as function objects: what tensor/for_each.h can give to a device.
template <class Op>
struct Forward {
  Op op;
  template <class... T>
  constexpr auto operator()(T... x) const {
    return op.fwd(x...);
  }
};
template <class Op>
struct Backward {
  Op op;
  template <class T>
  constexpr T operator()(T x, T y, T dy) const {
    return op.bwd(x, y, dy);
  }
};
template <class Op>
struct BackwardA {
  Op op;
  template <class T>
  constexpr T operator()(T a, T b, T dy) const {
    return op.da(a, b, dy);
  }
};
template <class Op>
struct BackwardB {
  Op op;
  template <class T>
  constexpr T operator()(T a, T b, T dy) const {
    return op.db(a, b, dy);
  }
};
struct First {
  template <class T>
  constexpr T operator()(T x, T) const {
    return x;
  }
};

template <class Op>
Var pointwise(const Var& x, Op op) {
  const Tensor& xv = x.value();
  return dispatch_float(Op::name, xv.kind(), [&]<class T>() {
    Tensor y = map<T>(Forward<Op>{op}, xv);
    return record(Op::name, y, {x}, kNoProducts, [op, xv, y](const Tensor& dy) {
      return Gradients{map<T>(Backward<Op>{op}, xv, y, dy)};
    });
  });
}

template <class Op>
Var pointwise(const Var& a, const Var& b, Op op) {
  expect_kind(Op::name, "second input", b.value(), a.kind());
  const Tensor av = a.value(), bv = b.value();
  return dispatch_float(Op::name, a.kind(), [&]<class T>() {
    Tensor y = broadcast_map<T>(Op::name, Forward<Op>{op}, av, bv);
    return record(Op::name, y, {a, b}, kNoProducts,
                  [op, av, bv](const Tensor& dy, const Needs& needs) {
                    // d(a, b) dy, on the output's shape, reduced to the input's.
                    auto gradient = [&](auto derivative, const Shape& shape) {
                      if (av.shape() == bv.shape()) return map<T>(derivative, av, bv, dy);
                      const Tensor a_full = broadcast_map<T>(Op::name, First{}, av, dy);
                      const Tensor b_full = broadcast_map<T>(Op::name, First{}, bv, dy);
                      return reduce_to(map<T>(derivative, a_full, b_full, dy), shape);
                    };
                    Gradients g(2);
                    if (needs[0]) g[0] = gradient(BackwardA<Op>{op}, av.shape());
                    if (needs[1]) g[1] = gradient(BackwardB<Op>{op}, bv.shape());
                    return g;
                  });
  });
}

}  // namespace SFUMATO_COMPILED
}  // namespace sfumato
