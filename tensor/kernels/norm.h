// Group normalisation with an optional SiLU, forward and backward. With m numbers in a group,
//   mean = Σ x / m,  var = Σ (x - mean)² / m,  rstd = 1 / √(var + eps),  xhat = (x - mean) rstd,
//   z = gamma xhat + beta,  y = z or z s(z).
// The variance is taken in a second pass, over an image that is in the cache by then: the one-pass
// E[x²] - E[x]² loses all its digits when the mean is large against the deviation.
//
// Backward, with dz = dy (or dy d/dz z s(z)):
//   dbeta = Σ dz,  dgamma = Σ dz xhat   over images and pixels;
//   dx = rstd (gamma dz - A/m - xhat B/m),  A = Σ gamma dz,  B = Σ gamma dz xhat over the group,
// because mean and rstd depend on every x of the group: ∂mean/∂x = 1/m, ∂rstd/∂x = -rstd² xhat/m.
#pragma once
#include "tensor/kernels/image.h"
#include "tensor/kernels/simd_math.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Images are cut into ranges, and for few images the channels into slabs of whole groups.
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
  constexpr index kSmallest = 8192;  // numbers a task should have at least
  NormPlan p{};
  p.per_group = s.c / s.groups;
  p.images = larger(div_up(s.n, 2 * kTasks), larger(1, kSmallest / larger(1, s.hw * s.c)));
  p.ranges = div_up(s.n, p.images);
  p.channels = s.c;
  if (p.ranges < kTasks / 2 && s.hw > 1) {
    // At least a cache line of every pixel, or the slabs would fetch the same lines.
    const index least = larger(div_up(s.c * p.ranges, kTasks / 2), 16);
    p.channels = round_up(smaller(s.c, least), p.per_group);
  }
  p.slabs = div_up(s.c, p.channels);
  return p;
}

// Per-channel copies of what belongs to groups, for one image: lanes are channels.
template <class T>
void spread(const T* of_group, Range channels, index per_group, T* of_channel) {
  for (index c = channels.begin; c < channels.end; ++c)
    of_channel[c - channels.begin] = of_group[c / per_group];
}

// Images are walked pixel by pixel, as memory lies, with as many vectors of channels side by side
// as the registers hold: f(channel, Width<W>, extent), W = most, most / 2, ..., 1.
template <int W>
struct Width {
  static constexpr int kVectors = W;
};
template <class T, int W, class F>
[[gnu::always_inline]] inline void for_widths(index n, F&& f, index begin = 0) {
  index i = begin;
  for (; i + W * kLanes<T> <= n; i += W * kLanes<T>) f(i, Width<W>{}, Full{});
  if constexpr (W > 1) {
    for_widths<T, W / 2>(n, f, i);
  } else if (i < n) {
    f(i, Width<1>{}, Some{static_cast<int>(n - i)});
  }
}

// sums[v] = Σ_i term(i, v) for W vectors side by side. As sum_terms does, in two running sums that
// restart every 32 terms: the same order, and bits, for every W.
template <int W, class Sum, class Term>
[[gnu::always_inline]] inline void sum_side_by_side(index n, Sum (&sums)[W], Term&& term) {
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

// W vectors of numbers per channel.
template <class T, int W, class Extent>
[[gnu::always_inline]] inline void load_side_by_side(const T* p, Vec<T> (&to)[W], Extent extent) {
#pragma GCC unroll 4
  for (int v = 0; v < W; ++v) to[v] = load(p + v * kLanes<T>, extent);
}

// mean and rstd of the groups in `channels`, for one image.
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
    x.parts(channels, [&](Range part) {
      const index step = x.step(part.begin);
      T* const numbers = of_channel + part.begin - channels.begin;
      for_widths<T, 4>(part.size(), [&](index c, auto width, auto extent) {
        const T* first = x.at(0, part.begin) + c;
        Vec<T> center[width.kVectors], sums[width.kVectors];
        load_side_by_side(numbers + c, center, extent);
        sum_side_by_side(s.hw, sums, [&](index i, int v) {
          return term(load(first + i * step + v * kLanes<T>, extent), center[v]);
        });
        for (int v = 0; v < width.kVectors; ++v)
          store<T>(numbers + c + v * kLanes<T>, sums[v], extent);
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

// Of all images.
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

template <class T>
void group_norm_forward(const GroupNorm& s, const T* x, const T* gamma, const T* beta, T* y,
                        T* mean, T* rstd) {
  if (s.n <= 0 || s.hw <= 0 || s.c <= 0) return;
  const NormPlan plan = plan_norm(s);
  parallel_for(plan.tasks(), [&](index task) {
    const Range images = plan.image_range(task, s.n);
    const Range channels = plan.channel_range(task, s.c);
    const Scratch<T> centers(channels.size()), scales(channels.size());
    for (index b = images.begin; b < images.end; ++b) {
      const T* from = x + b * s.hw * s.c;
      T* to = y + b * s.hw * s.c;
      T *m = mean + b * s.groups, *r = rstd + b * s.groups;
      group_statistics(s, channels, Image<const T>{from, s.c}, centers.get(), m, r);
      spread(m, channels, plan.per_group, centers.get());
      spread(r, channels, plan.per_group, scales.get());
      for_widths<T, 4>(channels.size(), [&](index c, auto width, auto extent) {
        constexpr int kVectors = width.kVectors;
        const index at = channels.begin + c;
        Vec<T> center[kVectors], scale[kVectors], g[kVectors], shift[kVectors];
        load_side_by_side(centers.get() + c, center, extent);
        load_side_by_side(scales.get() + c, scale, extent);
        load_side_by_side(gamma + at, g, extent);
        load_side_by_side(beta + at, shift, extent);
        for (int v = 0; v < kVectors; ++v) scale[v] *= g[v];
        const auto pixels = [&](auto activation) {
          for (index i = at; i < s.hw * s.c; i += s.c) {
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
              const index j = i + v * kLanes<T>;
              store<T>(to + j,
                       activation((load(from + j, extent) - center[v]) * scale[v] + shift[v]),
                       extent);
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
  });
}

// Σ dz and Σ dz (x - mean).
template <class T>
struct NormSums {
  Vec<T> dz, dz_deviation;
  [[gnu::always_inline]] void operator+=(const NormSums& other) {
    dz += other.dz;
    dz_deviation += other.dz_deviation;
  }
};

// Where the gradients of one image go.
template <class T>
struct NormGradients {
  Image<T> dx;
  Image<const T> add;  // null, or what is added to dx
  bool streamed;
  T *dgamma, *dbeta;  // sums over images, of `channels`: stored by the first, added to by others
  bool first;
  T* y = nullptr;  // [hw, channels.size()]: where the normalisation's output goes, if it is wanted
};

// One image; x, dx and what is added lie alike. dz [hw, channels.size()] is scratch, or dy itself
// if that has all channels. Per-channel working memory: center, scale (= rstd), a, b.
template <class T>
void group_norm_backward_image(const GroupNorm& s, Range channels, const Image<const T>& x,
                               const T* gamma, const T* beta, const T* mean, const T* rstd,
                               const T* dy, T* dz, T* work, const NormGradients<T>& to) {
  const index per_group = s.c / s.groups, size = channels.size();
  T *centers = work, *scales = work + size, *a = work + 2 * size, *b = work + 3 * size;
  spread(mean, channels, per_group, centers);
  spread(rstd, channels, per_group, scales);
  // First pass: the sums. dz is kept, so that the sigmoid is computed once.
  x.parts(channels, [&](Range part) {
    const index step = x.step(part.begin), before = part.begin - channels.begin;
    for_widths<T, 2>(part.size(), [&](index in_part, auto width, auto extent) {
      constexpr int kVectors = width.kVectors;
      const index c = before + in_part, at = channels.begin + c;
      const T* const from = x.at(0, part.begin) + in_part;
      Vec<T> center[kVectors], scale[kVectors], g[kVectors], shift[kVectors];
      load_side_by_side(centers + c, center, extent);
      load_side_by_side(scales + c, scale, extent);
      load_side_by_side(gamma + at, g, extent);
      load_side_by_side(beta + at, shift, extent);
      for (int v = 0; v < kVectors; ++v) g[v] *= scale[v];
      NormSums<T> sums[kVectors];
      const auto pixels = [&](auto activation) {
        const auto term = [&](index i, int v) __attribute__((always_inline)) {
          const index lane = v * kLanes<T>, j = i * size + c + lane;
          const Vec<T> deviation = load(from + i * step + lane, extent) - center[v];
          const SiluAndSlope<T> y = activation(deviation * g[v] + shift[v]);
          const Vec<T> d = load(dy + at + i * s.c + lane, extent) * y.slope;
          store<T>(dz + j, d, extent);
          if (to.y) store<T>(to.y + j, y.value, extent);
          return NormSums<T>{d, d * deviation};
        };
        sum_side_by_side(s.hw, sums, term);
      };
      // Always inlined: which multiply-adds are fused, and with them the bits, would depend on it.
      if (s.silu) {
        pixels([](Vec<T> z) __attribute__((always_inline)) { return silu_and_slope<T>(z); });
      } else {
        pixels([](Vec<T> z) __attribute__((always_inline)) {
          return SiluAndSlope<T>{z, splat(T{1})};
        });
      }
      for (int v = 0; v < kVectors; ++v) {
        store<T>(a + c + v * kLanes<T>, sums[v].dz, extent);
        store<T>(b + c + v * kLanes<T>, sums[v].dz_deviation * scale[v], extent);
      }
    });
  });
  for (index c = 0; c < size; ++c) {
    to.dbeta[c] = to.first ? a[c] : to.dbeta[c] + a[c];
    to.dgamma[c] = to.first ? b[c] : to.dgamma[c] + b[c];
  }
  // a = rstd A/m and b = rstd² B/m, the same for all channels of a group.
  const double count = static_cast<double>(s.hw * per_group);
  for (index c0 = 0; c0 < size; c0 += per_group) {
    double sum_a = 0, sum_b = 0;
    for (index c = c0; c < c0 + per_group; ++c) {
      const double g = static_cast<double>(gamma[channels.begin + c]);
      sum_a += g * static_cast<double>(a[c]);
      sum_b += g * static_cast<double>(b[c]);
    }
    const double r = static_cast<double>(scales[c0]);
    for (index c = c0; c < c0 + per_group; ++c) {
      a[c] = static_cast<T>(r * sum_a / count);
      b[c] = static_cast<T>(r * r * sum_b / count);
    }
  }
  x.parts(channels, [&](Range part) {
    const index step = x.step(part.begin), before = part.begin - channels.begin;
    const T *const from = x.at(0, part.begin), *const summand = to.add.at(0, part.begin);
    T* const dx = to.dx.at(0, part.begin);
    for_widths<T, 4>(part.size(), [&](index in_part, auto width, auto extent) {
      constexpr int kVectors = width.kVectors;
      const index c = before + in_part;
      Vec<T> center[kVectors], scale[kVectors], g[kVectors], va[kVectors], vb[kVectors];
      load_side_by_side(centers + c, center, extent);
      load_side_by_side(scales + c, scale, extent);
      load_side_by_side(gamma + channels.begin + c, g, extent);
      load_side_by_side(a + c, va, extent);
      load_side_by_side(b + c, vb, extent);
      for (int v = 0; v < kVectors; ++v) scale[v] *= g[v];
      const auto pixels = [&](auto put) {
        for (index i = 0; i < s.hw; ++i) {
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) {
            const index j = i * step + in_part + v * kLanes<T>;
            const Vec<T> deviation = load(from + j, extent) - center[v];
            const Vec<T> d = load(dz + i * size + c + v * kLanes<T>, extent);
            put(j, d * scale[v] - va[v] - deviation * vb[v]);
          }
        }
      };
      const auto add = [&](index j, Vec<T> d) {
        return summand ? d + load(summand + j, extent) : d;
      };
      if (to.streamed) {
        pixels([&](index j, Vec<T> d) { stream(dx + j, add(j, d)); });
      } else {
        pixels([&](index j, Vec<T> d) { store<T>(dx + j, add(j, d), extent); });
      }
    });
  });
}

// dgamma and dbeta, from the sums of `parts` tasks, [part][gamma, beta][c], in order.
template <class T>
void add_up_norm(index c, index parts, const T* sums, T* dgamma, T* dbeta) {
  for (index i = 0; i < c; ++i) {
    dgamma[i] = dbeta[i] = 0;
    for (index p = 0; p < parts; ++p) {
      dgamma[i] += sums[p * 2 * c + i];
      dbeta[i] += sums[p * 2 * c + c + i];
    }
  }
}

template <class T>
void group_norm_backward(const GroupNorm& s, const Image<const T>& x, const T* gamma, const T* beta,
                         const T* mean, const T* rstd, const T* dy, const Image<const T>& add,
                         const Image<T>& dx, T* dgamma, T* dbeta) {
  if (s.c <= 0) return;
  if (s.n <= 0 || s.hw <= 0) {
    for (index c = 0; c < s.c; ++c) dgamma[c] = dbeta[c] = 0;
    return;
  }
  const NormPlan plan = plan_norm(s);
  const Scratch<T> parts(plan.ranges * 2 * s.c);
  const bool streamed = plan.slabs == 1 && streams(dx, add, s.n * s.hw);
  parallel_for(plan.tasks(), [&](index task) {
    const Range images = plan.image_range(task, s.n);
    const Range channels = plan.channel_range(task, s.c);
    const Scratch<T> work(4 * channels.size()), dz(s.hw * channels.size());
    T* part = parts.get() + task / plan.slabs * 2 * s.c + channels.begin;
    for (index b = images.begin; b < images.end; ++b) {
      const index pixel = b * s.hw;
      group_norm_backward_image(
          s, channels, x.from(pixel), gamma, beta, mean + b * s.groups, rstd + b * s.groups,
          dy + pixel * s.c, dz.get(), work.get(),
          {dx.from(pixel), add.from(pixel), streamed, part, part + s.c, b == images.begin});
    }
    if (streamed) finish_streams();
  });
  add_up_norm(s.c, plan.ranges, parts.get(), dgamma, dbeta);
}
template <class T>
void group_norm_backward(const GroupNorm& s, const T* x, const T* gamma, const T* beta,
                         const T* mean, const T* rstd, const T* dy, const T* add, T* dx, T* dgamma,
                         T* dbeta) {
  SFUMATO_ISA_NAME::group_norm_backward(s, Image<const T>{x, s.c}, gamma, beta, mean, rstd, dy,
                                        Image<const T>{add, s.c}, Image<T>{dx, s.c}, dgamma, dbeta);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
