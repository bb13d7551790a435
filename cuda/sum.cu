#include <algorithm>

#include "cuda/block.h"
#include "cuda/column_sums.h"
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

template <class From, class To>
struct SumRows {
  static constexpr int kThreads = ColumnSums<From, To>::kThreads;
  using Shared = ColumnSumsShared;
  ColumnSums<From, To> sums;
  __device__ void operator()() const { sums(shared<Shared>(), blockIdx.x); }
};

template <class T>
Channels<T> one_array(T* x, index cols) {
  return {x, narrow(cols)};
}

template <class From, class To>
void sum_parts(index parts, index rows, index share, const From* x, const Channels<To>& out) {
  const ColumnSums<From, To> sums{rows, share, out.count + out.rest, x, out};
  launch({parts * sums.blocks()}, SumRows<From, To>{sums});
}

// Of one matrix; in two launches when it has many rows, so that more than a few blocks share them.
template <class From, class To>
void sum_all(index rows, const From* x, const Channels<To>& out) {
  constexpr index kShare = 512, kMaxParts = 256;
  const index share = std::max(kShare, (rows + kMaxParts - 1) / kMaxParts),
              parts = (rows + share - 1) / share;
  if (parts <= 1) return sum_parts(1, rows, rows, x, out);
  const index cols = out.count + out.rest;
  const Scratch<double> partial(static_cast<std::size_t>(parts * cols));
  sum_parts(parts, rows, share, x, one_array(partial.get(), cols));
  sum_parts(1, parts, parts, partial.get(), out);
}

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
void sum_rows(index outer, index rows, index cols, const T* x, Wide<T>* out) {
  if (outer == 1) return sum_all(rows, x, one_array(out, cols));
  sum_parts(outer, outer * rows, rows, x, one_array(out, cols));
}

template <class T>
void sum_rows(index rows, const double* x, const Channels<T>& out) {
  sum_all(rows, x, out);
}

#define SFUMATO_INSTANTIATE(T)                            \
  template void sum(index, const T*, double*);            \
  template void sum_of_squares(index, const T*, double*); \
  template void sum_rows(index, index, index, const T*, Wide<T>*);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(double)
SFUMATO_INSTANTIATE(bf16)
template void sum_rows(index, const double*, const Channels<float>&);
template void sum_rows(index, const double*, const Channels<double>&);

}  // namespace sfumato::cuda
