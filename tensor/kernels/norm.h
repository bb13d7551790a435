// Group normalisation with an optional SiLU, forward and backward (norm_backward.h):
//   xhat = (x - mean) rstd,  z = gamma xhat + beta,  y = z or z s(z), s the sigmoid.
#pragma once
#include "tensor/kernels/layer_norm.h"
#include "tensor/kernels/norm_backward.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// y of some channels of one image, whose statistics are known. centers, scales: scratch.
template <class T>
struct NormImage {
  const GroupNorm& norm;
  Range channels;
  const T *x, *gamma, *beta, *mean, *rstd;
  T *centers, *scales;  // [channels.size()]
  T* y;
};
template <class T>
void group_norm_image(const NormImage<T>& image) {
  const GroupNorm& s = image.norm;
  const Range channels = image.channels;
  const T* const from = image.x;
  T* const to = image.y;
  spread(image.mean, channels, s.c / s.groups, image.centers);
  spread(image.rstd, channels, s.c / s.groups, image.scales);
  for_widths<T, 4>(channels.size(), [&](index c, auto width, auto lanes) {
    constexpr int kVectors = width.kVectors;
    const index at = channels.begin + c;
    Vec<T> center[kVectors], scale[kVectors], g[kVectors], shift[kVectors];
    load_vectors(image.centers + c, center, lanes);
    load_vectors(image.scales + c, scale, lanes);
    load_vectors(image.gamma + at, g, lanes);
    load_vectors(image.beta + at, shift, lanes);
    for (int v = 0; v < kVectors; ++v) scale[v] *= g[v];
    const auto pixels = [&](auto activation) {
      for (index i = at; i < s.hw * s.c; i += s.c) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          const index j = i + v * kLanes<T>;
          store<T>(to + j, activation((load(from + j, lanes) - center[v]) * scale[v] + shift[v]),
                   lanes);
        }
      }
    };
    if (s.silu) {
      pixels([](Vec<T> z) { return silu<T>(z); });
    } else {
      pixels([](Vec<T> z) { return z; });
    }
  });
}

template <class T>
void group_norm_forward(const GroupNormForward<T>& args) {
  const GroupNorm& s = args.norm;
  if (s.n <= 0 || s.hw <= 0 || s.c <= 0) return;
  if (is_layer_norm(s)) return layer_norm_forward(args);
  const NormPlan plan = plan_norm(s);
  parallel_for(plan.tasks(), [&](index task) {
    const Range images = plan.image_range(task, s.n);
    const Range channels = plan.channel_range(task, s.c);
    const Scratch<T> centers(channels.size()), scales(channels.size());
    for (index b = images.begin; b < images.end; ++b) {
      const index at = b * s.hw * s.c;
      T *const m = args.mean + b * s.groups, *const r = args.rstd + b * s.groups;
      group_statistics(s, channels, Image<const T>{args.x + at, s.c}, centers.get(), m, r);
      group_norm_image<T>({.norm = s,
                           .channels = channels,
                           .x = args.x + at,
                           .gamma = args.gamma,
                           .beta = args.beta,
                           .mean = m,
                           .rstd = r,
                           .centers = centers.get(),
                           .scales = scales.get(),
                           .y = args.y + at});
    }
  });
}

template <class T>
void group_norm_backward(const GroupNormBackward<T>& args) {
  if (is_layer_norm(args.norm)) return layer_norm_backward(args);
  const index c = args.norm.c;
  group_norm_gradients<T>({.norm = args.norm,
                           .x = {args.x, c},
                           .gamma = args.gamma,
                           .beta = args.beta,
                           .mean = args.mean,
                           .rstd = args.rstd,
                           .dy = args.dy,
                           .add = {args.add, c},
                           .dx = {args.dx, c},
                           .dgamma = args.dgamma,
                           .dbeta = args.dbeta});
}

// The rows of this family.
template <class T>
void fill(NormKernels<T>& table) {
  table = {
      .group_norm_forward = group_norm_forward<T>,
      .group_norm_backward = group_norm_backward<T>,
  };
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
