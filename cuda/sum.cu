#include <algorithm>

#include "cuda/block.h"
#include "cuda/column_sums.h"
#include "cuda/launch.h"
#include "cuda/memory.h"
#include "cuda/phases.h"
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

// *out = Σ Term of x: of shares, by a block each, and then, in a second phase, of these sums.
template <class T, class Term>
struct Sum {
  static constexpr int kThreads = 32 * kWarps;
  struct Shared {
    Phases::Shared phases;
    double sums[kWarps];
  };
  Phases phases;
  index n, share;
  unsigned shares;
  const T* x;
  double* partial;  // [shares]; where there is one, `out`
  double* out;

  __device__ void operator()() const {
    Shared& s = shared<Shared>();
    const unsigned block = phases.begin(s.phases);
    if (block < shares) {
      const index begin = block * share;
      const index end = begin + share < n ? begin + share : n;
      add_up<Term>(s, x + begin, end - begin, partial + block);
      phases.count(0);
    } else {
      phases.wait(0, shares);
      add_up<Value>(s, partial, shares, out);
    }
    phases.end(s.phases);
  }

  template <class TermOf, class From>
  static __device__ void add_up(Shared& s, const From* from, index n, double* to) {
    double sum = 0;
    for (index i = threadIdx.x; i < n; i += kThreads)
      sum += TermOf::of(static_cast<double>(from[i]));
    sum = block_sum(s.sums, sum);
    if (threadIdx.x == 0) *to = sum;
  }
};

template <class Term, class T>
void sum_terms(index n, const T* x, double* out) {
  constexpr index kShare = 8192, kMaxBlocks = 1024;
  const index share = std::max(kShare, (n + kMaxBlocks - 1) / kMaxBlocks);
  // One writes 0 where there is nothing to add.
  const unsigned shares = narrow(std::max<index>(1, (n + share - 1) / share));
  const Scratch<double> partial(shares);
  const bool once = shares == 1;
  launch({once ? 1 : shares + 1},
         Sum<T, Term>{Phases(1), n, share, shares, x, once ? out : partial.get(), out});
}

// Of parts of a matrix; then, where they are asked for, of these sums.
template <class From, class To>
struct SumRows {
  static constexpr int kThreads = ColumnSums<From, To>::kThreads;
  struct Shared {
    Phases::Shared phases;
    ColumnSumsShared sums;
  };
  Phases phases;
  unsigned blocks;  // of the first phase
  ColumnSums<From, double> first;
  ColumnSums<double, To> then;

  __device__ void operator()() const {
    Shared& s = shared<Shared>();
    const unsigned block = phases.begin(s.phases);
    if (block < blocks) {
      first(s.sums, block);
      phases.count(0);
    } else {
      phases.wait(0, blocks);
      then(s.sums, block - blocks);
    }
    phases.end(s.phases);
  }
};
template <class From, class To>
struct SumRowsOfParts {
  static constexpr int kThreads = ColumnSums<From, To>::kThreads;
  using Shared = ColumnSumsShared;
  ColumnSums<From, To> sums;
  __device__ void operator()() const { sums(shared<Shared>(), blockIdx.x); }
};

template <class From, class To>
void sum_parts(index parts, index rows, index share, const From* x, const Channels<To>& out) {
  const ColumnSums<From, To> sums{rows, share, out.count + out.rest, x, out};
  launch({parts * sums.blocks()}, SumRowsOfParts<From, To>{sums});
}

// Of one matrix; by parts when it has many rows, so that more than a few blocks share them.
template <class From, class To>
void sum_all(index rows, const From* x, const Channels<To>& out) {
  constexpr index kShare = 512, kMaxParts = 256;
  const index share = std::max(kShare, (rows + kMaxParts - 1) / kMaxParts),
              parts = (rows + share - 1) / share;
  if (parts <= 1) return sum_parts(1, rows, rows, x, out);
  const unsigned cols = out.count + out.rest;
  const Scratch<double> partial(static_cast<std::size_t>(parts * cols));
  const ColumnSums<From, double> first{rows, share, cols, x, {partial.get(), cols}};
  const ColumnSums<double, To> then{parts, parts, cols, partial.get(), out};
  const unsigned blocks = narrow(parts) * first.blocks();
  launch({blocks + then.blocks()}, SumRows<From, To>{Phases(1), blocks, first, then});
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
  if (outer == 1) return sum_all(rows, x, Channels<Wide<T>>{out, narrow(cols)});
  sum_parts(outer, outer * rows, rows, x, Channels<Wide<T>>{out, narrow(cols)});
}

#define SFUMATO_INSTANTIATE(T)                            \
  template void sum(index, const T*, double*);            \
  template void sum_of_squares(index, const T*, double*); \
  template void sum_rows(index, index, index, const T*, Wide<T>*);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(double)
SFUMATO_INSTANTIATE(bf16)

}  // namespace sfumato::cuda
