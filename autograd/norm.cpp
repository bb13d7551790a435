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
  expect_kind(op, "gamma", gamma.value(), wide(x.kind()));
  expect_kind(op, "beta", beta.value(), wide(x.kind()));
  const Tensor xv = x.value(), ga = gamma.value(), be = beta.value();
  return dispatch_float(op, x.kind(), [&]<class T>() {
    Tensor y(xv.shape(), xv.kind());
    const Kind exact = wide(xv.kind());
    Tensor mean({s.n, s.groups}, exact), rstd({s.n, s.groups}, exact);
    kernels::on<T>(xv.device())
        .group_norm_forward({.norm = s,
                             .x = xv.data<T>(),
                             .gamma = ga.data<Wide<T>>(),
                             .beta = be.data<Wide<T>>(),
                             .y = y.data<T>(),
                             .mean = mean.data<Wide<T>>(),
                             .rstd = rstd.data<Wide<T>>()});
    return record(op, y, {x, gamma, beta}, kNoProducts, [=](const Tensor& dy, const Needs& needs) {
      // The kernel computes all three, needed or not.
      const auto place = [&](int i, const Shape& shape, Kind kind) {
        return needs[i] ? needs.room(i, kind.dtype) : Tensor(shape, kind);
      };
      Tensor dx = needs.take(0, xv.dtype());
      Tensor dgamma = place(1, {s.c}, exact), dbeta = place(2, {s.c}, exact);
      const bool add = dx.defined();
      if (!add) dx = place(0, xv.shape(), xv.kind());
      kernels::on<T>(xv.device())
          .group_norm_backward({.norm = s,
                                .x = xv.data<T>(),
                                .gamma = ga.data<Wide<T>>(),
                                .beta = be.data<Wide<T>>(),
                                .mean = mean.data<Wide<T>>(),
                                .rstd = rstd.data<Wide<T>>(),
                                .dy = dy.data<T>(),
                                .dx = dx.data<T>(),
                                .dgamma = dgamma.data<Wide<T>>(),
                                .dbeta = dbeta.data<Wide<T>>(),
                                .add = add ? dx.data<T>() : nullptr});
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
  return normalise("group_norm", x, gamma, beta,
                   {.n = n, .hw = hw, .c = c, .groups = groups, .eps = eps, .silu = with_silu});
}

Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps) {
  if (x.shape().rank() < 1) throw Error("layer_norm", "expected at least one axis");
  const std::int64_t c = x.dim(-1), rows = c ? x.value().size() / c : 0;
  // A constant in the place of a vector that is left out costs nothing: the kernel needs a factor in either case.
  const auto given = [&](const Var& v, double otherwise) {
    return v.defined() ? v : Var(Tensor::full({c}, otherwise, wide(x.kind())));
  };
  return normalise("layer_norm", x, given(gamma, 1), given(beta, 0),
                   {.n = rows, .hw = 1, .c = c, .groups = 1, .eps = eps, .silu = false});
}

}  // namespace sfumato
