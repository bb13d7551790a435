// Group normalisation: a block takes some groups of one image, so that no sum leaves it.
#include "cuda/column_sums.h"
#include "cuda/memory.h"
#include "cuda/norm.h"
#include "cuda/norm_groups.h"
#include "cuda/phases.h"

namespace sfumato::cuda {
namespace {

template <class T>
struct Statistics {
  static constexpr int kThreads = kNormThreads;
  // Left to choose, nvcc takes fewer registers and spills.
  static constexpr int kBlocksAtOnce = 4;
  using Shared = BandSums<T>;
  NormStatistics<T> statistics;
  __device__ void operator()() const {
    statistics(shared<Shared>(), Band<T>(statistics.share, blockIdx.x));
  }
};

// y = u, and the statistics.
template <class T>
struct Forward {
  static constexpr int kThreads = kNormThreads;
  using Shared = BandSums<T>;
  NormStatistics<T> statistics;
  Activations<T> y;

  __device__ void operator()() const {
    const Band<T> band(statistics.share, blockIdx.x);
    statistics(shared<Shared>(), band);
    __syncthreads();
    y(band);
  }
};

// dx in the first phase, dgamma and dbeta in the second.
template <class T>
struct Backward {
  static constexpr int kThreads = kNormThreads;
  struct Shared {
    Phases::Shared phases;
    union {
      BandSums<T> norm;
      ColumnSumsShared sums;
    };
  };
  Phases phases;
  unsigned bands;  // blocks of the first phase
  NormBackward<T> norm;
  ColumnSums<double, Wide<T>> of_images;

  __device__ void operator()() const {
    Shared& s = shared<Shared>();
    const unsigned block = phases.begin(s.phases);
    if (block < bands) {
      norm(s.norm, Band<T>(norm.share, block));
      phases.count(0);
    } else {
      phases.wait(0, bands);
      of_images(s.sums, block - bands);
    }
    phases.end(s.phases);
  }
};

template <class T>
Normalised<T> normalised(const kernels::GroupNorm& s, const T* x, const Wide<T>* gamma,
                         const Wide<T>* beta, const Wide<T>* mean, const Wide<T>* rstd) {
  return {{x, narrow(s.c)},
          narrow(s.groups),
          GroupShare<T>(s).per_group,
          gamma,
          beta,
          mean,
          rstd,
          s.silu};
}

}  // namespace

template <class T>
void group_norm_statistics(const kernels::GroupNorm& s, const Channels<const T>& x, Wide<T>* mean,
                           Wide<T>* rstd) {
  const GroupShare<T> share(s);
  launch({s.n * share.blocks_of_image()}, Statistics<T>{{share, s.eps, x, mean, rstd}});
}

template <class T>
void group_norm_forward(const kernels::GroupNormForward<T>& a) {
  const kernels::GroupNorm& s = a.norm;
  const GroupShare<T> share(s);
  const Normalised<T> norm = normalised<T>(s, a.x, a.gamma, a.beta, a.mean, a.rstd);
  launch({s.n * share.blocks_of_image()},
         Forward<T>{{share, s.eps, norm.x, a.mean, a.rstd}, {share, norm, {a.y, narrow(s.c)}}});
}

template <class T>
void group_norm_backward(const kernels::GroupNorm& s, const Normalised<T>& norm, const T* dy,
                         const NormGradients<T>& to) {
  const Scratch<double> partial(static_cast<std::size_t>(s.n * 2 * s.c));
  const GroupShare<T> share(s);
  const unsigned c = narrow(s.c), bands = narrow(s.n) * share.blocks_of_image();
  const ColumnSums<double, Wide<T>> of_images{
      s.n, s.n, 2 * c, partial.get(), {to.dgamma, c, to.dbeta, c}};
  launch({bands + of_images.blocks()},
         Backward<T>{
             Phases(1), bands, {share, norm, {dy, c}, to.dx, to.add, partial.get()}, of_images});
}

template <class T>
void group_norm_backward(const kernels::GroupNormBackward<T>& a) {
  const kernels::GroupNorm& s = a.norm;
  const unsigned c = narrow(s.c);
  group_norm_backward(s, normalised<T>(s, a.x, a.gamma, a.beta, a.mean, a.rstd), a.dy,
                      {{a.dx, c}, {a.add, c}, a.dgamma, a.dbeta});
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
