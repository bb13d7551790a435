// Group normalisation as a part of a block's work: a team of threads takes one group of one image, so that no sum
// leaves it.
#pragma once
#include "cuda/block.h"
#include "cuda/channels.h"

namespace sfumato::cuda {

inline constexpr int kNormThreads = 256, kNormWarps = kNormThreads / 32;

// How the groups of an image, each of `hw` pixels, are shared among blocks.
struct GroupShare {
  unsigned team;  // threads that take a group: a warp, or the block where groups are large
  unsigned hw, groups;
  Divisor per_group;  // channels

  explicit GroupShare(const kernels::GroupNorm& s)
      : team(s.groups > 1 && s.hw * (s.c / s.groups) <= 4096 ? 32 : kNormThreads),
        hw(narrow(s.hw)),
        groups(narrow(s.groups)),
        per_group(narrow(s.groups ? s.c / s.groups : 1)) {}
  constexpr unsigned groups_of_block() const { return kNormThreads / team; }
  constexpr unsigned blocks_of_image() const {
    return (groups + groups_of_block() - 1) / groups_of_block();
  }
};

// The group that the calling thread's team takes.
struct Group {
  GroupShare share;
  unsigned image,
      group;      // of the image; where it has none left the team takes part in barriers alone
  unsigned rank;  // of the thread in its team

  // Block `block` of those of all images.
  __device__ Group(const GroupShare& share, unsigned block)
      : share(share),
        image(block / share.blocks_of_image()),
        group(block % share.blocks_of_image() * share.groups_of_block() + threadIdx.x / share.team),
        rank(threadIdx.x % share.team) {}
  __device__ bool exists() const { return group < share.groups; }
  __device__ unsigned size() const { return exists() ? share.hw * share.per_group : 0; }
  // This thread's share of the group: as many channels side by side as the team has threads for, and as many pixels at once as
  // that leaves threads for. So a thread divides once, and knows its channel for all pixels.
  struct Part {
    unsigned width, rows, column, row;  // rows <= row: the thread has none
  };
  __device__ Part part() const {
    const unsigned width = share.per_group < share.team ? share.per_group : share.team;
    return {width, share.team / width, rank % width, rank / width};
  }
  // f(channel)(pixel) for it.
  template <class F>
  __device__ void each(const F& f) const {
    const auto [width, rows, column, row] = part();
    if (!exists() || row >= rows) return;
    for (unsigned c = column; c < share.per_group; c += width) {
      const auto of_pixel = f(group * share.per_group + c);
      const index first = static_cast<index>(image) * share.hw;
      for (unsigned p = row; p < share.hw; p += rows) of_pixel(first + p);
    }
  }
  __device__ index of_all() const { return static_cast<index>(image) * share.groups + group; }
  // Σ v over the team, in a fixed order; every thread gets it.
  __device__ double sum(double (&room)[kNormWarps], double v) const {
    return share.team == 32 ? warp_sum(v) : block_sum(room, v);
  }
};

struct NormStatisticsShared {
  double sums[2][kNormWarps];
};

// mean = Σ x / m,  var = Σ (x - mean)² / m,  rstd = 1 / √(var + eps). In double, and in two passes:
// E[x²] - E[x]² loses all its digits if the mean is large against the deviation.
template <class T>
struct NormStatistics {
  using Shared = NormStatisticsShared;
  GroupShare share;
  double eps;
  Channels<const T> x;
  Wide<T>*mean, *rstd;

  __device__ void operator()(Shared& s, const Group& group) const {
    double sum = 0, squares = 0;
    group.each([&](unsigned c) {
      return
          [&sum, column = x.column(c)](index pixel) { sum += static_cast<double>(column[pixel]); };
    });
    const double m = group.size(), middle = group.sum(s.sums[0], sum) / m;
    group.each([&](unsigned c) {
      return [&squares, middle, column = x.column(c)](index pixel) {
        const double d = static_cast<double>(column[pixel]) - middle;
        squares += d * d;
      };
    });
    const double var = group.sum(s.sums[1], squares) / m;
    if (group.rank != 0 || !group.exists()) return;
    mean[group.of_all()] = static_cast<Wide<T>>(middle);
    rstd[group.of_all()] = static_cast<Wide<T>>(1 / std::sqrt(var + eps));
  }
};

// u [pixels, c] itself.
template <class T>
struct Activations {
  GroupShare share;
  Normalised<T> input;
  T* u;

  __device__ void operator()(const Group& group) const {
    const unsigned channels = share.groups * share.per_group;
    group.each([&](unsigned c) {
      return [of_x = input.of_channel(group.image, c), from = input.x.column(c),
              to = Channels<T>{u, channels}.column(c)](index pixel) {
        to[pixel] = static_cast<T>(of_x(from[pixel]));
      };
    });
  }
};

struct NormBackwardShared {
  double dz_xhat[kNormThreads], dz[kNormThreads];
  double group[2][kNormWarps];
};

// With dz = dy du/dz:  dx = rstd (gamma dz - Σ gamma dz / m - xhat Σ gamma dz xhat / m) over the
// group. Of each channel, partial[image, 0, c] = Σ dz xhat and partial[image, 1, c] = Σ dz.
template <class T>
struct NormBackward {
  using Shared = NormBackwardShared;
  GroupShare share;
  Normalised<T> norm;
  const T* dy;
  Channels<T> dx;
  Channels<const T> add;
  double* partial;

  __device__ void operator()(Shared& s, const Group& group) const {
    const Sums own = sums(s, group);
    const double m = group.size();
    const Wide<T> mean_dz = static_cast<Wide<T>>(group.sum(s.group[0], own.dz) / m);
    const Wide<T> mean_dz_xhat = static_cast<Wide<T>>(group.sum(s.group[1], own.dz_xhat) / m);
    group.each([&](unsigned c) {
      const Wide<T> gamma = norm.gamma[c], rstd = norm.rstd[group.of_all()];
      return [=, this, &group](index pixel) {
        const Wide<T> xhat = norm.xhat(group.image, pixel, c);
        const Wide<T> d = rstd * (gamma * dz(pixel, c, xhat) - mean_dz - xhat * mean_dz_xhat);
        dx.at(pixel, c) = static_cast<T>(d + add.or_zero(pixel, c));
      };
    });
  }

 private:
  struct Sums {
    double dz_xhat = 0, dz = 0;
  };
  __device__ Wide<T> dz(index pixel, unsigned c, Wide<T> xhat) const {
    return dy[pixel * channels() + c] * norm.slope(xhat, c);
  }
  __device__ unsigned channels() const { return share.groups * share.per_group; }

  // (The loop goes round again only where a channel has one thread, which reads nobody's sums.)
  // This thread's share of the group's Σ gamma dz xhat and Σ gamma dz. As many channels side by side
  // as the team has threads, and as many pixels as that leaves threads for.
  __device__ Sums sums(Shared& s, const Group& group) const {
    const unsigned per_group = share.per_group;
    const auto [width, rows, column, row] = group.part();
    const unsigned of_team = threadIdx.x - group.rank;
    Sums of_group;
    for (unsigned begin = 0; begin < per_group; begin += width) {
      const bool exists = begin + column < per_group && row < rows && group.exists();
      const unsigned c = group.group * per_group + begin + column;
      Sums sum;
      for (unsigned p = row; exists && p < share.hw; p += rows) {
        const index pixel = static_cast<index>(group.image) * share.hw + p;
        const Wide<T> xhat = norm.xhat(group.image, pixel, c), d = dz(pixel, c, xhat);
        sum.dz_xhat += static_cast<double>(d) * static_cast<double>(xhat);
        sum.dz += static_cast<double>(d);
      }
      s.dz_xhat[threadIdx.x] = sum.dz_xhat, s.dz[threadIdx.x] = sum.dz;
      __syncthreads();
      if (!exists || row != 0) continue;
      for (unsigned r = 1; r < rows; ++r) {
        const unsigned other = of_team + r * width + column;
        sum.dz_xhat += s.dz_xhat[other], sum.dz += s.dz[other];
      }
      double* to = partial + static_cast<index>(group.image) * 2 * channels() + c;
      to[0] = sum.dz_xhat, to[channels()] = sum.dz;
      of_group.dz_xhat += static_cast<double>(norm.gamma[c]) * sum.dz_xhat;
      of_group.dz += static_cast<double>(norm.gamma[c]) * sum.dz;
    }
    return of_group;
  }
};

}  // namespace sfumato::cuda
