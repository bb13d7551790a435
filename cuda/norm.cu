// Group normalisation: a block takes one group of one image, twice over, so that no sum leaves it.
#include "cuda/block.h"
#include "cuda/memory.h"
#include "cuda/norm.h"
#include "cuda/sum.h"

namespace sfumato::cuda {
namespace {

constexpr int kWarps = 4;

// Group blockIdx.x of all images: its elements i < hw * per_group, a pixel's channels side by side.
struct Group {
  index image, hw;
  unsigned group, per_group;

  __device__ Group(index hw, unsigned groups, unsigned per_group)
      : image(blockIdx.x / groups), hw(hw), group(blockIdx.x % groups), per_group(per_group) {}
  __device__ unsigned size() const { return static_cast<unsigned>(hw) * per_group; }
  __device__ index pixel(unsigned i) const { return image * hw + i / per_group; }
  __device__ unsigned channel(unsigned i) const { return group * per_group + i % per_group; }
};

// mean = Σ x / m,  var = Σ (x - mean)² / m,  rstd = 1 / √(var + eps). In double, and in two passes:
// E[x²] - E[x]² loses all its digits if the mean is large against the deviation.
template <class T>
struct Statistics {
  static constexpr int kThreads = kWarps * 32;
  struct Shared {
    double sums[2][kWarps];
  };
  index hw;
  unsigned groups, per_group;
  double eps;
  Channels<const T> x;
  Wide<T>*mean, *rstd;

  __device__ void operator()() const {
    const Group group(hw, groups, per_group);
    auto& sums = shared<Shared>().sums;
    double sum = 0, squares = 0;
    for (unsigned i = threadIdx.x; i < group.size(); i += kThreads)
      sum += static_cast<double>(x.at(group.pixel(i), group.channel(i)));
    const double m = group.size(), middle = block_sum(sums[0], sum) / m;
    for (unsigned i = threadIdx.x; i < group.size(); i += kThreads) {
      const double d = static_cast<double>(x.at(group.pixel(i), group.channel(i))) - middle;
      squares += d * d;
    }
    const double var = block_sum(sums[1], squares) / m;
    if (threadIdx.x != 0) return;
    mean[blockIdx.x] = static_cast<Wide<T>>(middle);
    rstd[blockIdx.x] = static_cast<Wide<T>>(1 / std::sqrt(var + eps));
  }
};

// y[pixel, c] = u.
template <class T>
struct Apply {
  Normalised<T> norm;
  unsigned hw;
  T* y;
  constexpr void operator()(unsigned pixel, unsigned c) const {
    y[static_cast<index>(pixel) * norm.x.count + c] = static_cast<T>(norm.u(pixel / hw, pixel, c));
  }
};

// With dz = dy du/dz:  dx = rstd (gamma dz - Σ gamma dz / m - xhat Σ gamma dz xhat / m) over the
// group. Of each channel, partial[image, 0, c] = Σ dz xhat and partial[image, 1, c] = Σ dz.
template <class T>
struct Backward {
  static constexpr int kThreads = kWarps * 32;
  struct Shared {
    double dz_xhat[kThreads], dz[kThreads];
    double group[2][kWarps];
  };
  Normalised<T> norm;
  index hw;
  const T* dy;
  Channels<T> dx;
  Channels<const T> add;
  double* partial;

  struct Sums {
    double dz_xhat = 0, dz = 0;
  };
  __device__ Wide<T> dz(index pixel, unsigned c, Wide<T> xhat) const {
    return dy[pixel * channels() + c] * norm.slope(xhat, c);
  }
  __device__ unsigned channels() const { return norm.groups * norm.per_group; }

  // (The loop goes round again only where a channel has one thread, which reads nobody's sums.)
  // This thread's share of the group's Σ gamma dz xhat and Σ gamma dz. As many channels side by side
  // as there are threads, and as many pixels as that leaves threads for.
  __device__ Sums sums(const Group& group) const {
    Shared& s = shared<Shared>();
    const unsigned width = norm.per_group < kThreads ? norm.per_group : kThreads;
    const unsigned column = threadIdx.x % width, row = threadIdx.x / width, rows = kThreads / width;
    Sums of_group;
    for (unsigned begin = 0; begin < norm.per_group; begin += width) {
      const bool exists = begin + column < norm.per_group && row < rows;
      const unsigned c = group.group * norm.per_group + begin + column;
      Sums sum;
      for (index p = row; exists && p < hw; p += rows) {
        const index pixel = group.image * hw + p;
        const Wide<T> xhat = norm.xhat(group.image, pixel, c), d = dz(pixel, c, xhat);
        sum.dz_xhat += static_cast<double>(d) * static_cast<double>(xhat);
        sum.dz += static_cast<double>(d);
      }
      s.dz_xhat[threadIdx.x] = sum.dz_xhat, s.dz[threadIdx.x] = sum.dz;
      __syncthreads();
      if (!exists || row != 0) continue;
      for (unsigned r = 1; r < rows; ++r)
        sum.dz_xhat += s.dz_xhat[r * width + column], sum.dz += s.dz[r * width + column];
      double* to = partial + group.image * 2 * channels() + c;
      to[0] = sum.dz_xhat, to[channels()] = sum.dz;
      of_group.dz_xhat += static_cast<double>(norm.gamma[c]) * sum.dz_xhat;
      of_group.dz += static_cast<double>(norm.gamma[c]) * sum.dz;
    }
    return of_group;
  }

  __device__ void operator()() const {
    const Group group(hw, norm.groups, norm.per_group);
    const Sums own = sums(group);
    Shared& s = shared<Shared>();
    const double m = group.size();
    const Wide<T> mean_dz = static_cast<Wide<T>>(block_sum(s.group[0], own.dz) / m);
    const Wide<T> mean_dz_xhat = static_cast<Wide<T>>(block_sum(s.group[1], own.dz_xhat) / m);
    const Wide<T> rstd = norm.rstd[blockIdx.x];
    for (unsigned i = threadIdx.x; i < group.size(); i += kThreads) {
      const index pixel = group.pixel(i);
      const unsigned c = group.channel(i);
      const Wide<T> xhat = norm.xhat(group.image, pixel, c);
      const Wide<T> d = rstd * (norm.gamma[c] * dz(pixel, c, xhat) - mean_dz - xhat * mean_dz_xhat);
      dx.at(pixel, c) = static_cast<T>(d + add.or_zero(pixel, c));
    }
  }
};

}  // namespace

template <class T>
void group_norm_statistics(const kernels::GroupNorm& s, const Channels<const T>& x, Wide<T>* mean,
                           Wide<T>* rstd) {
  launch({s.n * s.groups},
         Statistics<T>{s.hw, narrow(s.groups), narrow(s.c / s.groups), s.eps, x, mean, rstd});
}

template <class T>
void group_norm_forward(const kernels::GroupNormForward<T>& a) {
  const kernels::GroupNorm& s = a.norm;
  const Channels<const T> x{a.x, narrow(s.c)};
  group_norm_statistics(s, x, a.mean, a.rstd);
  const Normalised<T> norm{
      x, narrow(s.groups), narrow(s.c / s.groups), a.gamma, a.beta, a.mean, a.rstd, s.silu};
  for_each_of_row(s.n * s.hw, s.c, Apply<T>{norm, narrow(s.hw), a.y});
}

template <class T>
void group_norm_backward(const kernels::GroupNorm& s, const Normalised<T>& norm, const T* dy,
                         const NormGradients<T>& to) {
  const Scratch<double> partial(static_cast<std::size_t>(s.n * 2 * s.c));
  launch({s.n * s.groups}, Backward<T>{norm, s.hw, dy, to.dx, to.add, partial.get()});
  sum_rows(s.n, partial.get(), Channels<Wide<T>>{to.dgamma, narrow(s.c), to.dbeta, narrow(s.c)});
}

template <class T>
void group_norm_backward(const kernels::GroupNormBackward<T>& a) {
  const kernels::GroupNorm& s = a.norm;
  const unsigned c = narrow(s.c);
  const Normalised<T> norm{
      {a.x, c}, narrow(s.groups), narrow(s.c / s.groups), a.gamma, a.beta, a.mean, a.rstd, s.silu};
  group_norm_backward(s, norm, a.dy, {{a.dx, c}, {a.add, c}, a.dgamma, a.dbeta});
}

#define SFUMATO_INSTANTIATE(T)                                                                 \
  template void group_norm_statistics(const kernels::GroupNorm&, const Channels<const T>&,     \
                                      Wide<T>*, Wide<T>*);                                     \
                                                                                               \
  template void group_norm_forward(const kernels::GroupNormForward<T>&);                       \
  template void group_norm_backward(const kernels::GroupNormBackward<T>&);                     \
  template void group_norm_backward(const kernels::GroupNorm&, const Normalised<T>&, const T*, \
                                    const NormGradients<T>&);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(double)
SFUMATO_INSTANTIATE(bf16)

}  // namespace sfumato::cuda
