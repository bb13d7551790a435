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

// mean and rstd of the groups in `channels`, for one image.
template <class T>
void group_statistics(const GroupNorm& s, Range channels, const T* x, T* of_channel, T* mean,
                      T* rstd) {
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
    for_vectors<T>(channels.size(), [&](index c, auto extent) {
      const T* first = x + channels.begin + c;
      const Vec<T> center = load(of_channel + c, extent);
      const Vec<T> sum = sum_terms<Vec<T>>(
          s.hw, [&](index i) { return term(load(first + i * s.c, extent), center); });
      store<T>(of_channel + c, sum, extent);
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
void group_norm_statistics(const GroupNorm& s, const T* x, T* mean, T* rstd) {
  if (s.n <= 0 || s.hw <= 0 || s.c <= 0) return;
  const NormPlan plan = plan_norm(s);
  parallel_for(plan.tasks(), [&](index task) {
    const Range images = plan.image_range(task, s.n);
    const Range channels = plan.channel_range(task, s.c);
    const Scratch<T> work(channels.size());
    for (index b = images.begin; b < images.end; ++b)
      group_statistics(s, channels, x + b * s.hw * s.c, work.get(), mean + b * s.groups,
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
      group_statistics(s, channels, from, centers.get(), m, r);
      spread(m, channels, plan.per_group, centers.get());
      spread(r, channels, plan.per_group, scales.get());
      for_vectors<T>(channels.size(), [&](index c, auto extent) {
        const index at = channels.begin + c;
        const Vec<T> center = load(centers.get() + c, extent);
        const Vec<T> scale = load(scales.get() + c, extent) * load(gamma + at, extent);
        const Vec<T> shift = load(beta + at, extent);
        const auto pixels = [&](auto activation) {
          for (index i = at; i < s.hw * s.c; i += s.c)
            store<T>(to + i, activation((load(from + i, extent) - center) * scale + shift), extent);
        };
        if (s.silu) {
          pixels([](Vec<T> z) { return z * sigmoid<T>(z); });
        } else {
          pixels([](Vec<T> z) { return z; });
        }
      });
    }
  });
}

// Σ dz and Σ dz xhat.
template <class T>
struct NormSums {
  Vec<T> dz, dz_xhat;
  [[gnu::always_inline]] void operator+=(const NormSums& other) {
    dz += other.dz;
    dz_xhat += other.dz_xhat;
  }
};

// One image: dx, and its share of dbeta and dgamma (stored, or added unless first). Per-channel
// working memory: center, scale (= rstd), a, b; in between, dz [hw, c] may be dx itself, which is
// streamed to if it is not.
template <class T>
void group_norm_backward_image(const GroupNorm& s, Range channels, const T* x, const T* gamma,
                               const T* beta, const T* mean, const T* rstd, const T* dy,
                               const T* add, T* dz, T* dx, bool first, T* dgamma, T* dbeta,
                               T* work) {
  const index per_group = s.c / s.groups, size = channels.size();
  T *centers = work, *scales = work + size, *a = work + 2 * size, *b = work + 3 * size;
  spread(mean, channels, per_group, centers);
  spread(rstd, channels, per_group, scales);
  // First pass: the sums. dz is kept, so that the sigmoid is computed once.
  for_vectors<T>(size, [&](index c, auto extent) {
    const index at = channels.begin + c;
    const Vec<T> center = load(centers + c, extent), scale = load(scales + c, extent);
    const Vec<T> g = load(gamma + at, extent), shift = load(beta + at, extent);
    const auto pixels = [&](auto slope) {
      return sum_terms<NormSums<T>>(s.hw, [&](index i) {
        const index j = at + i * s.c;
        const Vec<T> xhat = (load(x + j, extent) - center) * scale;
        const Vec<T> d = load(dy + j, extent) * slope(xhat * g + shift);
        store<T>(dz + j, d, extent);
        return NormSums<T>{d, d * xhat};
      });
    };
    const NormSums<T> sums = s.silu ? pixels([](Vec<T> z) { return silu_slope<T>(z); })
                                    : pixels([](Vec<T>) { return splat(T{1}); });
    store<T>(a + c, sums.dz, extent);
    store<T>(b + c, sums.dz_xhat, extent);
  });
  for (index c = 0; c < size; ++c) {
    dbeta[c] = first ? a[c] : dbeta[c] + a[c];
    dgamma[c] = first ? b[c] : dgamma[c] + b[c];
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
  for_vectors<T>(size, [&](index c, auto extent) {
    const index at = channels.begin + c;
    const Vec<T> center = load(centers + c, extent);
    const Vec<T> scale = load(scales + c, extent) * load(gamma + at, extent);
    const Vec<T> va = load(a + c, extent), vb = load(b + c, extent);
    const auto pixels = [&](auto more) {
      for (index i = at; i < s.hw * s.c; i += s.c) {
        const Vec<T> deviation = load(x + i, extent) - center;
        const Vec<T> d = more(load(dz + i, extent) * scale - va - deviation * vb, i);
        if (dz == dx) {
          store<T>(dx + i, d, extent);
        } else {
          stream(dx + i, d);
        }
      }
    };
    if (add) {
      pixels([&](Vec<T> v, index i) { return v + load(add + i, extent); });
    } else {
      pixels([](Vec<T> v, index) { return v; });
    }
  });
}

template <class T>
void group_norm_backward(const GroupNorm& s, const T* x, const T* gamma, const T* beta,
                         const T* mean, const T* rstd, const T* dy, const T* add, T* dx, T* dgamma,
                         T* dbeta) {
  if (s.c <= 0) return;
  if (s.n <= 0 || s.hw <= 0) {
    for (index c = 0; c < s.c; ++c) dgamma[c] = dbeta[c] = 0;
    return;
  }
  const NormPlan plan = plan_norm(s);
  const Scratch<T> parts(plan.ranges * 2 * s.c);  // [range][gamma, beta][c]
  const bool streamed = add != dx && streams(dx, s.c, s.n * s.hw * s.c) && plan.slabs == 1;
  parallel_for(plan.tasks(), [&](index task) {
    const Range images = plan.image_range(task, s.n);
    const Range channels = plan.channel_range(task, s.c);
    const Scratch<T> work(4 * channels.size()), dz(streamed ? s.hw * s.c : 0);
    T* part = parts.get() + task / plan.slabs * 2 * s.c + channels.begin;
    for (index b = images.begin; b < images.end; ++b) {
      const index at = b * s.hw * s.c;
      group_norm_backward_image(s, channels, x + at, gamma, beta, mean + b * s.groups,
                                rstd + b * s.groups, dy + at, add ? add + at : nullptr,
                                streamed ? dz.get() : dx + at, dx + at, b == images.begin, part,
                                part + s.c, work.get());
    }
    if (streamed) finish_streams();
  });
  for (index c = 0; c < s.c; ++c) {
    dgamma[c] = dbeta[c] = 0;
    for (index r = 0; r < plan.ranges; ++r) {
      dgamma[c] += parts[r * 2 * s.c + c];
      dbeta[c] += parts[r * 2 * s.c + s.c + c];
    }
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
