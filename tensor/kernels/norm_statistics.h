// The statistics of group normalisation, and how its work is cut. With m elements in a group,
//   mean = Σ x / m,  var = Σ (x - mean)² / m,  rstd = 1 / √(var + eps).
// The variance is a second pass over an image that is in the cache by then: the one-pass
// E[x²] - E[x]² loses all its digits if the mean is large against the deviation.
#pragma once
#include "tensor/kernels/group_norm.h"
#include "tensor/kernels/simd_math.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Images are split into ranges, and if they are few, their channels into slabs of whole groups.
struct NormPlan {
  index per_group;        // channels in a group
  index images, ranges;   // images per range
  index channels, slabs;  // channels per slab
  index tasks() const { return ranges * slabs; }
  Range image_range(index task, index n) const {
    const index begin = task / slabs * images;
    return {begin, smaller(begin + images, n)};
  }
  Range channel_range(index task, index c) const {
    const index begin = task % slabs * channels;
    return {begin, smaller(begin + channels, c)};
  }
};
inline NormPlan plan_norm(const GroupNorm& s) {
  constexpr index kSmallest = 8192;  // elements of a task, at least
  NormPlan p{};
  p.per_group = s.c / s.groups;
  p.images = larger(div_up(s.n, 2 * kTasks), larger(1, kSmallest / larger(1, s.hw * s.c)));
  p.ranges = div_up(s.n, p.images);
  p.channels = s.c;
  if (p.ranges < kTasks / 2 && s.hw > 1) {
    // A slab has at least a cache line (of f32) of every pixel, or slabs would share lines.
    const index line = kCache.line / static_cast<index>(sizeof(float));
    const index least = larger(div_up(s.c * p.ranges, kTasks / 2), line);
    p.channels = round_up(smaller(s.c, least), p.per_group);
  }
  p.slabs = div_up(s.c, p.channels);
  return p;
}

// Per-channel copies of an image's per-group values: lanes are channels.
template <class T>
void spread(const T* of_group, Range channels, index per_group, T* of_channel) {
  for (index c = channels.begin; c < channels.end; ++c)
    of_channel[c - channels.begin] = of_group[c / per_group];
}

// Images are walked pixel by pixel, in the order of memory, with as many vectors of channels at once
// as the registers hold: f(channel, Width<W>, lanes), W = most, most / 2, ..., 1.
template <int W>
struct Width {
  static constexpr int kVectors = W;
};
template <class T, int W, class F>
[[gnu::always_inline]] inline void for_widths(index n, F&& f, index begin = 0) {
  index i = begin;
  for (; i + W * kLanes<T> <= n; i += W * kLanes<T>) f(i, Width<W>{}, AllLanes{});
  if constexpr (W > 1) {
    for_widths<T, W / 2>(n, f, i);
  } else if (i < n) {
    f(i, Width<1>{}, Tail{static_cast<int>(n - i)});
  }
}

// sums[v] = Σ_i term(i, v) for W vectors at once. As in sum_terms, two running sums restart every 32
// terms; the order, and so the bits, are the same for every W.
template <int W, class Sum, class Term>
[[gnu::always_inline]] inline void sum_each(index n, Sum (&sums)[W], Term&& term) {
  for (int v = 0; v < W; ++v) sums[v] = Sum{};
  for (index begin = 0; begin < n; begin += 32) {
    const index end = smaller(begin + 32, n);
    Sum even[W] = {}, odd[W] = {};
    index i = begin;
    for (; i + 2 <= end; i += 2) {
#pragma GCC unroll 4
      for (int v = 0; v < W; ++v) even[v] += term(i, v);
#pragma GCC unroll 4
      for (int v = 0; v < W; ++v) odd[v] += term(i + 1, v);
    }
#pragma GCC unroll 4
    for (int v = 0; v < W; ++v) {
      if (i < end) even[v] += term(i, v);
      even[v] += odd[v];
      sums[v] += even[v];
    }
  }
}

// W vectors of per-channel values.
template <class T, int W, class Lanes>
[[gnu::always_inline]] inline void load_vectors(const T* p, Vec<T> (&to)[W], Lanes lanes) {
#pragma GCC unroll 4
  for (int v = 0; v < W; ++v) to[v] = load(p + v * kLanes<T>, lanes);
}

template <class T>
void group_statistics(const GroupNorm& s, Range channels, const Image<const T>& x, T* of_channel,
                      T* mean, T* rstd) {
  const index per_group = s.c / s.groups;
  const double count = static_cast<double>(s.hw * per_group);
  const Range groups{channels.begin / per_group, channels.end / per_group};
  // Sums over pixels are taken channel by channel in T, those over a group's channels in double.
  const auto average = [&](index group, T* sums) {
    double sum = 0;
    for (index c = 0; c < per_group; ++c)
      sum += static_cast<double>(sums[group * per_group - channels.begin + c]);
    return sum / count;
  };
  const auto sums_over_pixels = [&](auto term) {
    x.for_arrays(channels, [&](Range segment) {
      const index step = x.step(segment.begin);
      T* const per_channel = of_channel + segment.begin - channels.begin;
      for_widths<T, 4>(segment.size(), [&](index c, auto width, auto lanes) {
        const T* first = x.at(0, segment.begin) + c;
        Vec<T> center[width.kVectors], sums[width.kVectors];
        load_vectors(per_channel + c, center, lanes);
        sum_each(s.hw, sums, [&](index i, int v) {
          return term(load(first + i * step + v * kLanes<T>, lanes), center[v]);
        });
        for (int v = 0; v < width.kVectors; ++v)
          store<T>(per_channel + c + v * kLanes<T>, sums[v], lanes);
      });
    });
  };
  sums_over_pixels([](Vec<T> v, Vec<T>) { return v; });
  for (index g = groups.begin; g < groups.end; ++g)
    mean[g] = static_cast<T>(average(g, of_channel));
  spread(mean, channels, per_group, of_channel);
  sums_over_pixels([](Vec<T> v, Vec<T> center) { return (v - center) * (v - center); });
  for (index g = groups.begin; g < groups.end; ++g)
    rstd[g] = static_cast<T>(1 / __builtin_sqrt(average(g, of_channel) + s.eps));
}

template <class T>
void group_norm_statistics(const GroupNorm& s, const Image<const T>& x, T* mean, T* rstd) {
  if (s.n <= 0 || s.hw <= 0 || s.c <= 0) return;
  const NormPlan plan = plan_norm(s);
  parallel_for(plan.tasks(), [&](index task) {
    const Range images = plan.image_range(task, s.n);
    const Range channels = plan.channel_range(task, s.c);
    const Scratch<T> work(channels.size());
    for (index b = images.begin; b < images.end; ++b)
      group_statistics(s, channels, x.from(b * s.hw), work.get(), mean + b * s.groups,
                       rstd + b * s.groups);
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
