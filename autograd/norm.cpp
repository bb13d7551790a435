// Normalisation layers' mathematics.
#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

// x̂ = (x - mean) / √(var + eps), y = γ x̂ + β (then SiLU). With d = γ dy and m(·) the mean over a
// group:  dx = rstd (d - m(d) - x̂ m(d x̂)),  dγ = Σ dy x̂,  dβ = Σ dy.
Var normalise(const char* op, const Var& x, const Var& gamma, const Var& beta,
              const kernels::GroupNorm& s) {
  expect_shape(op, "gamma", gamma.value(), {s.c});
  expect_shape(op, "beta", beta.value(), {s.c});
  expect_dtype(op, "gamma", gamma.value(), x.dtype());
  expect_dtype(op, "beta", beta.value(), x.dtype());
  const Tensor xv = x.value(), ga = gamma.value(), be = beta.value();
  return dispatch_float(op, x.dtype(), [&]<class T>() {
    Tensor y(xv.shape(), xv.dtype()), mean({s.n, s.groups}, xv.dtype()), rstd = mean.clone();
    kernels::group_norm_forward<T>(s, xv.data<T>(), ga.data<T>(), be.data<T>(), y.data<T>(),
                                   mean.data<T>(), rstd.data<T>());
    return record(op, y, {x, gamma, beta}, [=](const Tensor& dy, const Needs& needs) {
      Tensor dx = needs.take(0), dgamma({s.c}, xv.dtype()), dbeta({s.c}, xv.dtype());
      const bool add = dx.defined();
      if (!add) dx = Tensor(xv.shape(), xv.dtype());
      kernels::group_norm_backward<T>(s, xv.data<T>(), ga.data<T>(), be.data<T>(), mean.data<T>(),
                                      rstd.data<T>(), dy.data<T>(), add ? dx.data<T>() : nullptr,
                                      dx.data<T>(), dgamma.data<T>(), dbeta.data<T>());
      return Gradients{dx, dgamma, dbeta};
    });
  });
}

}  // namespace

void expect_groups(const char* op, std::int64_t channels, std::int64_t groups) {
  if (groups < 1 || channels % groups != 0)
    throw Error(op, fmt::format("channels {} is not divisible by groups {}", channels, groups));
}

Var group_norm(const Var& x, const Var& gamma, const Var& beta, std::int64_t groups, double eps,
               bool with_silu) {
  if (x.shape().rank() < 2)
    throw Error("group_norm", fmt::format("expected [N, ..., C], got {}", x.shape().str()));
  const std::int64_t n = x.dim(0), c = x.dim(-1);
  expect_groups("group_norm", c, groups);
  const std::int64_t hw = n > 0 && c > 0 ? x.value().size() / (n * c) : 0;
  return normalise("group_norm", x, gamma, beta, {n, hw, c, groups, eps, with_silu});
}

Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps) {
  if (x.shape().rank() < 1) throw Error("layer_norm", "expected at least one axis");
  const std::int64_t c = x.dim(-1), rows = c ? x.value().size() / c : 0;
  return normalise("layer_norm", x, gamma, beta, {rows, 1, c, 1, eps, false});
}

}  // namespace sfumato
