// Matrix products.
#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

void expect_inner(const char* op, const Tensor& x, std::int64_t k, const Tensor& w) {
  if (x.shape().rank() < 1 || x.dim(-1) != k)
    throw Error(op,
                fmt::format("input {} does not fit weight {}", x.shape().str(), w.shape().str()));
  expect_kind(op, "weight", w, x.kind());
}

}  // namespace

// C = A B,  dA = dC Bᵀ,  dB = Aᵀ dC
Var matmul(const Var& a, const Var& b) {
  expect_rank("matmul", "right factor", b.value(), 2);
  const std::int64_t k = b.dim(0), n = b.dim(1);
  expect_inner("matmul", a.value(), k, b.value());
  const Tensor av = a.value(), bv = b.value();
  const std::int64_t m = k ? av.size() / k : 0;
  return dispatch_float("matmul", a.kind(), [&]<class T>() {
    Tensor c(av.shape().with(-1, n), av.kind());
    kernels::on<T>(c.device())
        .gemm({.m = m, .n = n, .k = k, .a = av.data<T>(), .b = bv.data<T>(), .c = c.data<T>()});
    const double flop = 2 * static_cast<double>(c.size()) * static_cast<double>(k);
    return record("matmul", c, {a, b}, flop, [=](const Tensor& dc, const Needs& needs) {
      Gradients g(2);
      if (needs[0]) {
        g[0] = needs.room(0, dtype_of<T>());
        kernels::on<T>(dc.device())
            .gemm({.m = m,
                   .n = k,
                   .k = n,
                   .transpose_b = true,
                   .a = dc.data<T>(),
                   .b = bv.data<T>(),
                   .c = g[0].data<T>()});
      }
      if (needs[1]) {
        g[1] = needs.room(1, dtype_of<Wide<T>>());
        kernels::on<T>(dc.device())
            .gemm_wide({.m = k,
                        .n = n,
                        .k = m,
                        .transpose_a = true,
                        .a = av.data<T>(),
                        .b = dc.data<T>(),
                        .c = g[1].data<Wide<T>>()});
      }
      return g;
    });
  });
}

// With u = x or silu(x):  y = u Wᵀ + b + residual,  du = dy W,  dW = dyᵀ u,  db = Σ_rows dy
Var linear(const Var& x, const Var& weight, const Var& bias, const LinearFusion& fused) {
  expect_rank("linear", "weight", weight.value(), 2);
  const std::int64_t out = weight.dim(0), in = weight.dim(1);
  expect_inner("linear", x.value(), in, weight.value());
  const Shape y_shape = x.shape().with(-1, out);
  const auto expect = [&](const char* what, const Var& v, const Shape& shape, Kind kind) {
    if (!v.defined()) return;
    expect_shape("linear", what, v.value(), shape);
    expect_kind("linear", what, v.value(), kind);
  };
  expect("bias", bias, {out}, wide(x.kind()));
  expect("residual", fused.residual, y_shape, x.kind());
  const Tensor xv = x.value(), w = weight.value();
  const kernels::Linear s{.m = in ? xv.size() / in : 0, .in = in, .out = out, .silu = fused.silu};
  return dispatch_float("linear", x.kind(), [&]<class T>() {
    using W = Wide<T>;
    Tensor y(y_shape, xv.kind());
    kernels::on<T>(y.device())
        .linear_forward({.linear = s,
                         .x = xv.data<T>(),
                         .w = w.data<T>(),
                         .bias = bias.value().data_or_null<W>(),
                         .residual = fused.residual.value().data_or_null<T>(),
                         .y = y.data<T>()});
    const double flop = 2 * static_cast<double>(y.size()) * static_cast<double>(in);
    return record("linear", y, {x, weight, bias, fused.residual}, flop,
                  [=](const Tensor& dy, const Needs& needs) {
                    Gradients g(4);
                    g[0] = needs.take(0, dtype_of<T>());
                    const Tensor add = g[0];  // what was delivered already
                    if (!add.defined()) g[0] = needs.room(0, dtype_of<T>());
                    g[1] = needs.room(1, dtype_of<W>());
                    g[2] = needs.room(2, dtype_of<W>());
                    if (needs[3]) g[3] = dy;
                    kernels::on<T>(dy.device())
                        .linear_backward({.linear = s,
                                          .x = xv.data<T>(),
                                          .w = w.data<T>(),
                                          .dy = dy.data<T>(),
                                          .dx = g[0].data_or_null<T>(),
                                          .add = add.data_or_null<T>(),
                                          .dw = g[1].data_or_null<W>(),
                                          .db = g[2].data_or_null<W>()});
                    return g;
                  });
  });
}

}  // namespace sfumato
