// Turns a struct of scalar math into a differentiable operation. The formula and its derivative are
// written once, for f32 and f64:
//
//   struct Square {
//     static constexpr const char* name = "square";
//     template <class T> T fwd(T x) const { return x * x; }
//     template <class T> T bwd(T x, T /*y*/, T dy) const { return 2 * x * dy; }
//   };
//   Var square(const Var& x) { return pointwise(x, Square{}); }
//
// Two inputs: `fwd(a, b)`, `da(a, b, dy)`, `db(a, b, dy)`, with NumPy broadcasting.
#pragma once
#include "autograd/var.h"
#include "tensor/arithmetic.h"

namespace sfumato {

template <class Op>
Var pointwise(const Var& x, Op op) {
  const Tensor& xv = x.value();
  return dispatch_float(Op::name, xv.dtype(), [&]<class T>() {
    Tensor y = map<T>([op](T a) { return op.template fwd<T>(a); }, xv);
    return record(Op::name, y, {x}, kNoProducts, [op, xv, y](const Tensor& dy) {
      return Gradients{
          map<T>([op](T a, T b, T g) { return op.template bwd<T>(a, b, g); }, xv, y, dy)};
    });
  });
}

template <class Op>
Var pointwise(const Var& a, const Var& b, Op op) {
  expect_dtype(Op::name, "second input", b.value(), a.dtype());
  const Tensor av = a.value(), bv = b.value();
  return dispatch_float(Op::name, a.dtype(), [&]<class T>() {
    Tensor y = broadcast_map<T>(
        Op::name, [op](T p, T q) { return op.template fwd<T>(p, q); }, av, bv);
    return record(
        Op::name, y, {a, b}, kNoProducts, [op, av, bv](const Tensor& dy, const Needs& needs) {
          // d(a, b) dy, on the output's shape, reduced to the input's.
          auto gradient = [&](auto derivative, const Shape& shape) {
            if (av.shape() == bv.shape()) return map<T>(derivative, av, bv, dy);
            const Tensor a_full = broadcast_map<T>(
                Op::name, [](T p, T) { return p; }, av, dy);
            const Tensor b_full = broadcast_map<T>(
                Op::name, [](T q, T) { return q; }, bv, dy);
            return reduce_to(map<T>(derivative, a_full, b_full, dy), shape);
          };
          Gradients g(2);
          if (needs[0])
            g[0] = gradient([op](T p, T q, T d) { return op.template da<T>(p, q, d); }, av.shape());
          if (needs[1])
            g[1] = gradient([op](T p, T q, T d) { return op.template db<T>(p, q, d); }, bv.shape());
          return g;
        });
  });
}

}  // namespace sfumato
