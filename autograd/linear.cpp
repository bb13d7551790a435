// Matrix products.
#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

// op(A) op(B) of 2-d tensors (leading axes of A and of the result are flattened by the caller).
template <class T>
void multiply(std::int64_t m, std::int64_t n, std::int64_t k, const Tensor& a, bool transpose_a,
              const Tensor& b, bool transpose_b, Tensor& c, const T* bias = nullptr,
              T* sums = nullptr) {
  kernels::gemm<T>({.m = m,
                    .n = n,
                    .k = k,
                    .transpose_a = transpose_a,
                    .transpose_b = transpose_b,
                    .lda = transpose_a ? m : k,
                    .ldb = transpose_b ? k : n,
                    .ldc = n},
                   a.data<T>(), b.data<T>(), c.data<T>(), bias, sums);
}

void expect_inner(const char* op, const Tensor& x, std::int64_t k, const Tensor& w) {
  if (x.shape().rank() < 1 || x.dim(-1) != k)
    throw Error(op,
                fmt::format("input {} does not fit weight {}", x.shape().str(), w.shape().str()));
  expect_dtype(op, "weight", w, x.dtype());
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
    Tensor c(av.shape().with(-1, n), av.dtype());
    multiply<T>(m, n, k, av, false, bv, false, c);
    return record("matmul", c, {a, b}, [=](const Tensor& dc, const Needs& needs) {
      Gradients g(2);
      if (needs[0])
        multiply<T>(m, k, n, dc, false, bv, true, g[0] = Tensor(av.shape(), av.dtype()));
      if (needs[1])
        multiply<T>(k, n, m, av, true, dc, false, g[1] = Tensor(bv.shape(), bv.dtype()));
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
    expect_dtype("linear", "bias", bias.value(), x.dtype());
  }
  const Tensor xv = x.value(), w = weight.value();
  const std::int64_t m = in ? xv.size() / in : 0;
  return dispatch_float("linear", x.dtype(), [&]<class T>() {
    Tensor y(xv.shape().with(-1, out), xv.dtype());
    multiply<T>(m, out, in, xv, false, w, true, y,
                bias.defined() ? bias.value().data<T>() : nullptr);
    return record("linear", y, {x, weight, bias}, [=](const Tensor& dy, const Needs& needs) {
      Gradients g(3);
      if (needs[0])
        multiply<T>(m, in, out, dy, false, w, false, g[0] = Tensor(xv.shape(), xv.dtype()));
      if (needs[2]) g[2] = Tensor({out}, dy.dtype());
      T* const sums = needs[2] ? g[2].data<T>() : nullptr;
      if (needs[1]) g[1] = Tensor(w.shape(), w.dtype());
      if (needs[1] && in > 0) {
        multiply<T>(out, in, m, dy, true, xv, false, g[1], nullptr, sums);
      } else if (needs[2]) {
        kernels::sum_rows<T>(m, out, dy.data<T>(), sums);
      }
      return g;
    });
  });
}

}  // namespace sfumato
