// Attention. The kernel never holds a [Tq, Tk] array: the backward pass recomputes the
// probabilities from the row-wise log-sum-exp (Dao 2022, "FlashAttention").
#include <fmt/format.h>

#include <cmath>

#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {

// P = softmax(q kᵀ/√d), o = P v.  dv = Pᵀ do,  dP = do vᵀ,  dS = P (dP - Σ_j P dP),
// dq = dS k/√d,  dk = dSᵀ q/√d
Var attention(const Var& q, const Var& k, const Var& v, std::int64_t heads) {
  expect_rank("attention", "q", q.value(), 3);
  expect_rank("attention", "k", k.value(), 3);
  const std::int64_t n = q.dim(0), tq = q.dim(1), c = q.dim(2), tk = k.dim(1);
  expect_shape("attention", "k", k.value(), {n, tk, c});
  expect_shape("attention", "v", v.value(), {n, tk, c});
  expect_kind("attention", "k", k.value(), q.kind());
  expect_kind("attention", "v", v.value(), q.kind());
  if (heads < 1 || c % heads != 0)
    throw Error("attention", fmt::format("channels {} is not divisible by heads {}", c, heads));
  if (tk == 0) throw Error("attention", "no keys");
  const std::int64_t d = c / heads;
  const kernels::Attention s{.n = n,
                             .tq = tq,
                             .tk = tk,
                             .heads = heads,
                             .d = d,
                             .scale = 1 / std::sqrt(static_cast<double>(d)),
                             .q_row = c,
                             .kv_row = c};
  const Tensor qv = q.value(), kv = k.value(), vv = v.value();
  return dispatch_float("attention", q.kind(), [&]<class T>() {
    Tensor o(qv.shape(), qv.kind()), lse({n, heads, tq}, wide(qv.kind()));
    kernels::on<T>(qv.device())
        .attention_forward({.attention = s,
                            .q = qv.data<T>(),
                            .k = kv.data<T>(),
                            .v = vv.data<T>(),
                            .out = o.data<T>(),
                            .lse = lse.data<Wide<T>>()});
    const double flop = 4 * static_cast<double>(o.size()) * static_cast<double>(tk);  // q kᵀ, P v
    return record("attention", o, {q, k, v}, flop, [=](const Tensor& dout) {
      Tensor dq(qv.shape(), qv.kind()), dk(kv.shape(), kv.kind()), dv(vv.shape(), vv.kind());
      kernels::on<T>(qv.device())
          .attention_backward({.attention = s,
                               .q = qv.data<T>(),
                               .k = kv.data<T>(),
                               .v = vv.data<T>(),
                               .out = o.data<T>(),
                               .lse = lse.data<Wide<T>>(),
                               .dout = dout.data<T>(),
                               .dq = dq.data<T>(),
                               .dk = dk.data<T>(),
                               .dv = dv.data<T>()});
      return Gradients{dq, dk, dv};
    });
  });
}

Var self_attention(const Var& qkv, std::int64_t heads) {
  const char* op = "self_attention";
  expect_rank(op, "qkv", qkv.value(), 3);
  const std::int64_t n = qkv.dim(0), t = qkv.dim(1), c = qkv.dim(2) / 3;
  if (qkv.dim(2) != 3 * c || heads < 1 || c % heads != 0)
    throw Error(op,
                fmt::format("{} channels are not q, k and v of {} heads each", qkv.dim(2), heads));
  const std::int64_t d = c / heads;
  const kernels::Attention s{.n = n,
                             .tq = t,
                             .tk = t,
                             .heads = heads,
                             .d = d,
                             .scale = 1 / std::sqrt(static_cast<double>(d)),
                             .q_row = 3 * c,
                             .kv_row = 3 * c};
  const Tensor x = qkv.value();
  return dispatch_float(op, x.kind(), [&]<class T>() {
    Tensor o({n, t, c}, x.kind()), lse({n, heads, t}, wide(x.kind()));
    const T* q = x.data<T>();
    kernels::on<T>(x.device())
        .attention_forward({.attention = s,
                            .q = q,
                            .k = q + c,
                            .v = q + 2 * c,
                            .out = o.data<T>(),
                            .lse = lse.data<Wide<T>>()});
    const double flop = 4 * static_cast<double>(o.size()) * static_cast<double>(t);
    return record(op, o, {qkv}, flop, [=](const Tensor& dout) {
      Tensor dx(x.shape(), x.kind());
      const T* q = x.data<T>();
      T* dq = dx.data<T>();
      kernels::on<T>(x.device())
          .attention_backward({.attention = s,
                               .q = q,
                               .k = q + c,
                               .v = q + 2 * c,
                               .out = o.data<T>(),
                               .lse = lse.data<Wide<T>>(),
                               .dout = dout.data<T>(),
                               .dq = dq,
                               .dk = dq + c,
                               .dv = dq + 2 * c});
      return Gradients{dx};
    });
  });
}

}  // namespace sfumato
