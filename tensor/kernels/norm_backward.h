// Group normalisation, backward. With z, xhat, m as in norm.h and norm_statistics.h, and dz = dy (or
// dy d/dz z s(z) with SiLU):
//   dbeta = Σ dz,  dgamma = Σ dz xhat   over images and pixels;
//   dx = rstd (gamma dz - A/m - xhat B/m),  A = Σ gamma dz,  B = Σ gamma dz xhat over the group,
// because mean and rstd depend on every x of the group: ∂mean/∂x = 1/m, ∂rstd/∂x = -rstd² xhat/m.
#pragma once
#include "tensor/kernels/norm_statistics.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Σ dz and Σ dz (x - mean).
template <class T>
struct NormSums {
  Vec<T> dz, dz_deviation;
  [[gnu::always_inline]] void operator+=(const NormSums& other) {
    dz += other.dz;
    dz_deviation += other.dz_deviation;
  }
};

// First pass: dz, and its sums over pixels. dz is kept, so that the sigmoid is computed once.
template <class T>
void norm_sums(const NormImageBackward<T>& image) {
  const GroupNorm& s = image.norm;
  const Range channels = image.channels;
  const index size = channels.size(), hw = s.hw, dy_step = s.c;
  const T* const dy = image.dy;
  T *const dz = image.dz, *const out = image.y;
  image.x.for_arrays(channels, [&](Range segment) {
    const index step = image.x.step(segment.begin), before = segment.begin - channels.begin;
    for_widths<T, 2>(segment.size(), [&](index in_segment, auto width, auto lanes) {
      constexpr int kVectors = width.kVectors;
      const index c = before + in_segment, at = channels.begin + c;
      const T* const from = image.x.at(0, segment.begin) + in_segment;
      Vec<T> center[kVectors], scale[kVectors], g[kVectors], shift[kVectors];
      load_vectors(image.centers() + c, center, lanes);
      load_vectors(image.scales() + c, scale, lanes);
      load_vectors(image.gamma + at, g, lanes);
      load_vectors(image.beta + at, shift, lanes);
      for (int v = 0; v < kVectors; ++v) g[v] *= scale[v];
      NormSums<T> sums[kVectors];
      const auto pixels = [&](auto activation) {
        const auto term = [&](index i, int v) __attribute__((always_inline)) {
          const index lane = v * kLanes<T>, j = i * size + c + lane;
          const Vec<T> deviation = load(from + i * step + lane, lanes) - center[v];
          const SiluAndSlope<T> y = activation(deviation * g[v] + shift[v]);
          const Vec<T> d = load(dy + at + i * dy_step + lane, lanes) * y.slope;
          store<T>(dz + j, d, lanes);
          if (out) store<T>(out + j, y.value, lanes);
          return NormSums<T>{d, d * deviation};
        };
        sum_each(hw, sums, term);
      };
      // Always inlined: otherwise the inliner would decide which multiply-adds are fused, and with
      // them the bits.
      if (s.silu) {
        pixels([](Vec<T> z) __attribute__((always_inline)) { return silu_and_slope<T>(z); });
      } else {
        pixels([](Vec<T> z) __attribute__((always_inline)) {
          return SiluAndSlope<T>{z, splat(T{1})};
        });
      }
      for (int v = 0; v < kVectors; ++v) {
        store<T>(image.sums_a() + c + v * kLanes<T>, sums[v].dz, lanes);
        store<T>(image.sums_b() + c + v * kLanes<T>, sums[v].dz_deviation * scale[v], lanes);
      }
    });
  });
}

// From sums per channel to rstd A/m and rstd² B/m, the same for all channels of a group.
template <class T>
void norm_group_sums(const NormImageBackward<T>& image) {
  const GroupNorm& s = image.norm;
  const index per_group = s.c / s.groups, size = image.channels.size();
  T *const a = image.sums_a(), *const b = image.sums_b();
  const double count = static_cast<double>(s.hw * per_group);
  for (index c0 = 0; c0 < size; c0 += per_group) {
    double sum_a = 0, sum_b = 0;
    for (index c = c0; c < c0 + per_group; ++c) {
      const double g = static_cast<double>(image.gamma[image.channels.begin + c]);
      sum_a += g * static_cast<double>(a[c]);
      sum_b += g * static_cast<double>(b[c]);
    }
    const double r = static_cast<double>(image.scales()[c0]);
    for (index c = c0; c < c0 + per_group; ++c) {
      a[c] = static_cast<T>(r * sum_a / count);
      b[c] = static_cast<T>(r * r * sum_b / count);
    }
  }
}

// Second pass: dx.
template <class T>
void norm_input_gradient(const NormImageBackward<T>& image) {
  const Range channels = image.channels;
  const index size = channels.size(), hw = image.norm.hw;
  const T* const dz = image.dz;
  image.x.for_arrays(channels, [&](Range segment) {
    const index step = image.x.step(segment.begin), before = segment.begin - channels.begin;
    const T *const from = image.x.at(0, segment.begin), *const summand =
                                                            image.add.at(0, segment.begin);
    T* const dx = image.dx.at(0, segment.begin);
    for_widths<T, 4>(segment.size(), [&](index in_segment, auto width, auto lanes) {
      constexpr int kVectors = width.kVectors;
      const index c = before + in_segment;
      Vec<T> center[kVectors], scale[kVectors], g[kVectors], a[kVectors], b[kVectors];
      load_vectors(image.centers() + c, center, lanes);
      load_vectors(image.scales() + c, scale, lanes);
      load_vectors(image.gamma + channels.begin + c, g, lanes);
      load_vectors(image.sums_a() + c, a, lanes);
      load_vectors(image.sums_b() + c, b, lanes);
      for (int v = 0; v < kVectors; ++v) scale[v] *= g[v];
      const auto pixels = [&](auto put) {
        for (index i = 0; i < hw; ++i) {
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) {
            const index j = i * step + in_segment + v * kLanes<T>;
            const Vec<T> deviation = load(from + j, lanes) - center[v];
            const Vec<T> d = load(dz + i * size + c + v * kLanes<T>, lanes);
            put(j, d * scale[v] - a[v] - deviation * b[v]);
          }
        }
      };
      const auto add = [&](index j, Vec<T> d) {
        return summand ? d + load(summand + j, lanes) : d;
      };
      if (kStreams && image.streamed) {
        pixels([&](index j, Vec<T> d) { stream(dx + j, add(j, d)); });
      } else {
        pixels([&](index j, Vec<T> d) { store<T>(dx + j, add(j, d), lanes); });
      }
    });
  });
}

template <class T>
void group_norm_backward_image(const NormImageBackward<T>& image) {
  const index per_group = image.norm.c / image.norm.groups;
  spread(image.mean, image.channels, per_group, image.centers());
  spread(image.rstd, image.channels, per_group, image.scales());
  norm_sums(image);
  const T *const a = image.sums_a(), *const b = image.sums_b();
  for (index c = 0; c < image.channels.size(); ++c) {
    image.dbeta[c] = image.first ? a[c] : image.dbeta[c] + a[c];
    image.dgamma[c] = image.first ? b[c] : image.dgamma[c] + b[c];
  }
  norm_group_sums(image);
  norm_input_gradient(image);
}

template <class T>
void group_norm_gradients(const NormBackward<T>& g) {
  const GroupNorm& s = g.norm;
  if (s.c <= 0) return;
  if (s.n <= 0 || s.hw <= 0) {
    for (index c = 0; c < s.c; ++c) g.dgamma[c] = g.dbeta[c] = 0;
    return;
  }
  const NormPlan plan = plan_norm(s);
  const Scratch<T> partials(plan.ranges * 2 * s.c);
  const bool streamed = plan.slabs == 1 && streams(g.dx, g.add, s.n * s.hw);
  parallel_for(plan.tasks(), [&](index task) {
    const Range images = plan.image_range(task, s.n);
    const Range channels = plan.channel_range(task, s.c);
    const Scratch<T> work(4 * channels.size()), dz(s.hw * channels.size());
    T* const partial = partials.get() + task / plan.slabs * 2 * s.c + channels.begin;
    for (index b = images.begin; b < images.end; ++b) {
      const index pixel = b * s.hw;
      group_norm_backward_image<T>({.norm = s,
                                    .channels = channels,
                                    .x = g.x.from(pixel),
                                    .gamma = g.gamma,
                                    .beta = g.beta,
                                    .mean = g.mean + b * s.groups,
                                    .rstd = g.rstd + b * s.groups,
                                    .dy = g.dy + pixel * s.c,
                                    .dz = dz.get(),
                                    .work = work.get(),
                                    .dx = g.dx.from(pixel),
                                    .add = g.add.from(pixel),
                                    .streamed = streamed,
                                    .dgamma = partial,
                                    .dbeta = partial + s.c,
                                    .first = b == images.begin});
    }
    if (streamed) finish_streams();
  });
  add_norm_partials(s.c, plan.ranges, partials.get(), g.dgamma, g.dbeta);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
