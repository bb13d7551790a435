#include <algorithm>

#include "cuda/block.h"
#include "cuda/launch.h"
#include "cuda/memory.h"
#include "cuda/sum.h"

namespace sfumato::cuda {
namespace {

constexpr int kWarps = 8;

struct Value {
  static __device__ double of(double v) { return v; }
};
struct Squared {
  static __device__ double of(double v) { return v * v; }
};

// out[block] = Σ Term of the block's share of x.
template <class T, class Term>
struct SumShares {
  static constexpr int kThreads = 32 * kWarps;
  struct Shared {
    double sums[kWarps];
  };
  index n, share;
  const T* x;
  double* out;

  __device__ void operator()() const {
    const index begin = blockIdx.x * share;
    const index end = begin + share < n ? begin + share : n;
    double sum = 0;
    for (index i = begin + threadIdx.x; i < end; i += kThreads)
      sum += Term::of(static_cast<double>(x[i]));
    sum = block_sum(shared<Shared>().sums, sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
  }
};

template <class Term, class T>
void sum_terms(index n, const T* x, double* out) {
  constexpr index kShare = 8192, kMaxBlocks = 1024;
  const index share = std::max(kShare, (n + kMaxBlocks - 1) / kMaxBlocks);
  const index blocks =
      std::max<index>(1, (n + share - 1) / share);  // one writes 0 where there is nothing to add
  if (blocks == 1) return launch({1}, SumShares<T, Term>{n, share, x, out});
  const Scratch<double> partial(static_cast<std::size_t>(blocks));
  launch({blocks}, SumShares<T, Term>{n, share, x, partial.get()});
  launch({1}, SumShares<double, Value>{blocks, blocks, partial.get(), out});
}

// A block adds up 32 columns of one matrix; its warps share the rows.
template <class T>
struct SumRows {
  static constexpr int kThreads = 32 * kWarps;
  struct Shared {
    T sums[kWarps][32];
  };
  index rows, cols;
  const T* x;
  T* out;

  __device__ void operator()() const {
    const index lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const index col = blockIdx.x * index{32} + lane, matrix = blockIdx.y;
    const T* const from = x + matrix * rows * cols;
    T sum = 0;
    if (col < cols)
      for (index r = warp; r < rows; r += kWarps) sum += from[r * cols + col];
    auto& sums = shared<Shared>().sums;
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || col >= cols) return;
    for (int w = 1; w < kWarps; ++w) sum += sums[w][lane];
    out[matrix * cols + col] = sum;
  }
};

}  // namespace

template <class T>
void sum(index n, const T* x, double* out) {
  sum_terms<Value>(n, x, out);
}

template <class T>
void sum_of_squares(index n, const T* x, double* out) {
  sum_terms<Squared>(n, x, out);
}

template <class T>
void sum_rows(index outer, index rows, index cols, const T* x, T* out) {
  constexpr index kMaxGridY = 65535;
  for (index begin = 0; begin < outer; begin += kMaxGridY)
    launch({(cols + 31) / 32, std::min(kMaxGridY, outer - begin)},
           SumRows<T>{rows, cols, x + begin * rows * cols, out + begin * cols});
}

template void sum(index, const float*, double*);
template void sum(index, const double*, double*);
template void sum_of_squares(index, const float*, double*);
template void sum_of_squares(index, const double*, double*);
template void sum_rows(index, index, index, const float*, float*);
template void sum_rows(index, index, index, const double*, double*);

}  // namespace sfumato::cuda
