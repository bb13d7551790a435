// Layer normalisation: group normalisation of images of one pixel with one group, without an activation. A row at a time, as
// everything that its two passes need is then in the nearest cache, and no array of its channels is in between.
#pragma once
#include "tensor/kernels/norm_backward.h"
#include "tensor/kernels/pointwise.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

inline bool is_layer_norm(const GroupNorm& s) {
  return s.hw == 1 && s.groups == 1 && !s.silu && s.n > 0 && s.c > 0;
}

// mean = Σ x / c,  rstd = 1 / √(Σ (x - mean)² / c + eps),  y = (x - mean) rstd gamma + beta
template <class T>
void layer_norm_forward(const GroupNormForward<T>& a) {
  const index c = a.norm.c;
  parallel_ranges(a.norm.n, 1 + kGrain / c, [&](index begin, index end) {
    for (index r = begin; r < end; ++r) {
      const T* const x = a.x + r * c;
      T* const y = a.y + r * c;
      const T mean = sum_vectors<T>(c, [&](index i, auto lanes) { return load(x + i, lanes); }) /
                     static_cast<T>(c);
      const T squares = sum_vectors<T>(c, [&](index i, auto lanes) {
        const Vec<T> d = fill_tail(load(x + i, lanes) - splat(mean), lanes, T{0});
        return d * d;
      });
      const T var = squares / static_cast<T>(c);
      const T rstd = static_cast<T>(1 / __builtin_sqrt(static_cast<double>(var) + a.norm.eps));
      a.mean[r] = mean, a.rstd[r] = rstd;
      for_vectors<T>(c, [&](index i, auto lanes) {
        const Vec<T> xhat = (load(x + i, lanes) - splat(mean)) * splat(rstd);
        store<T>(y + i, xhat * load(a.gamma + i, lanes) + load(a.beta + i, lanes), lanes);
      });
    }
  });
}

// One row, backward: dx, and dgamma and dbeta added to.
template <class T>
struct LayerNormRow {
  index c;
  const T *x, *gamma, *dy, *add;
  T mean, rstd;
  T *dx, *dgamma, *dbeta;
};
template <class T>
void layer_norm_backward_row(const LayerNormRow<T>& r) {
  const auto xhat = [&](index i, auto lanes) __attribute__((always_inline)) {
    return (load(r.x + i, lanes) - splat(r.mean)) * splat(r.rstd);
  };
  // (Lanes beyond the row: dy is 0 there.)
  const T a = sum_vectors<T>(
      r.c, [&](index i, auto lanes) { return load(r.dy + i, lanes) * load(r.gamma + i, lanes); });
  const T b = sum_vectors<T>(r.c, [&](index i, auto lanes) {
    return load(r.dy + i, lanes) * load(r.gamma + i, lanes) * xhat(i, lanes);
  });
  const T scale = r.rstd / static_cast<T>(r.c);
  const Vec<T> mean_a = splat(a * scale), mean_b = splat(b * scale);  // times rstd
  for_vectors<T>(r.c, [&](index i, auto lanes) {
    const Vec<T> d = load(r.dy + i, lanes), h = xhat(i, lanes);
    const Vec<T> factor = load(r.gamma + i, lanes) * splat(r.rstd);
    const Vec<T> dx = d * factor - (h * mean_b + mean_a);
    store<T>(r.dgamma + i, load(r.dgamma + i, lanes) + d * h, lanes);
    store<T>(r.dbeta + i, load(r.dbeta + i, lanes) + d, lanes);
    store<T>(r.dx + i, r.add ? dx + load(r.add + i, lanes) : dx, lanes);
  });
}

template <class T>
void layer_norm_backward(const GroupNormBackward<T>& a) {
  const GroupNorm& s = a.norm;
  const NormPlan plan = plan_norm(s);
  const Scratch<T> partials(plan.ranges * 2 * s.c);
  parallel_for(plan.tasks(), [&](index task) {
    T* const partial = partials.get() + task * 2 * s.c;
    for (index i = 0; i < 2 * s.c; ++i) partial[i] = 0;
    const Range rows = plan.image_range(task, s.n);
    for (index r = rows.begin; r < rows.end; ++r)
      layer_norm_backward_row<T>({.c = s.c,
                                  .x = a.x + r * s.c,
                                  .gamma = a.gamma,
                                  .dy = a.dy + r * s.c,
                                  .add = a.add ? a.add + r * s.c : nullptr,
                                  .mean = a.mean[r],
                                  .rstd = a.rstd[r],
                                  .dx = a.dx + r * s.c,
                                  .dgamma = partial,
                                  .dbeta = partial + s.c});
  });
  add_norm_partials(s.c, plan.ranges, partials.get(), a.dgamma, a.dbeta);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
