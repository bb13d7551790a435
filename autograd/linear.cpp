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
  return dispatch_float("matmul", a.dtype(), [&]<class T>() {
    Tensor c(av.shape().with(-1, n), av.kind());
    kernels::on<T>(c.device())
        .gemm({.m = m, .n = n, .k = k, .a = av.data<T>(), .b = bv.data<T>(), .c = c.data<T>()});
    const double flop = 2 * static_cast<double>(c.size()) * static_cast<double>(k);
    return record("matmul", c, {a, b}, flop, [=](const Tensor& dc, const Needs& needs) {
      Gradients g(2);
      if (needs[0]) {
        g[0] = needs.room(0);
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
        g[1] = needs.room(1);
        kernels::on<T>(dc.device())
            .gemm({.m = k,
                   .n = n,
                   .k = m,
                   .transpose_a = true,
                   .a = av.data<T>(),
                   .b = dc.data<T>(),
                   .c = g[1].data<T>()});
      }
      return g;
    });
  });
}

// y = x Wᵀ + b,  dx = dy W,  dW = dyᵀ x,  db = Σ_rows dy
Var linear(const Var& x, const Var& weight, const Var& bias) {
  expect_rank("linear", "weight", weight.value(), 2);
  const std::int64_t out = weight.dim(0), in = weight.dim(1);
  expect_inner("linear", x.value(), in, weight.value());
  if (bias.defined()) {
    expect_shape("linear", "bias", bias.value(), {out});
    expect_kind("linear", "bias", bias.value(), x.kind());
  }
  const Tensor xv = x.value(), w = weight.value();
  const std::int64_t m = in ? xv.size() / in : 0;
  return dispatch_float("linear", x.dtype(), [&]<class T>() {
    Tensor y(xv.shape().with(-1, out), xv.kind());
    kernels::on<T>(y.device())
        .gemm({.m = m,
               .n = out,
               .k = in,
               .transpose_b = true,
               .a = xv.data<T>(),
               .b = w.data<T>(),
               .c = y.data<T>(),
               .bias = bias.defined() ? bias.value().data<T>() : nullptr});
    const double flop = 2 * static_cast<double>(y.size()) * static_cast<double>(in);
    return record("linear", y, {x, weight, bias}, flop, [=](const Tensor& dy, const Needs& needs) {
      Gradients g(3);
      if (needs[0]) {
        g[0] = needs.room(0);
        kernels::on<T>(dy.device())
            .gemm({.m = m,
                   .n = in,
                   .k = out,
                   .a = dy.data<T>(),
                   .b = w.data<T>(),
                   .c = g[0].data<T>()});
      }
      g[1] = needs.room(1);
      g[2] = needs.room(2);
      T* const db = needs[2] ? g[2].data<T>() : nullptr;
      if (needs[1] && in > 0) {
        kernels::on<T>(dy.device())
            .gemm({.m = out,
                   .n = in,
                   .k = m,
                   .transpose_a = true,
                   .a = dy.data<T>(),
                   .b = xv.data<T>(),
                   .c = g[1].data<T>(),
                   .sums = db});
      } else if (needs[2]) {
        kernels::on<T>(dy.device()).sum_rows(1, m, out, dy.data<T>(), db);
      }
      return g;
    });
  });
}

}  // namespace sfumato
