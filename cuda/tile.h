// A tile of a product of matrices, by a block: parts of both factors go through shared memory, and each thread sums a
// few elements of the tile in registers.
#pragma once
#include "cuda/chunk.h"
#include "cuda/simt.h"

namespace sfumato::cuda {

// Which tile: from row `row` and column `col` on, of `rows` rows and `cols` columns; terms [begin, end).
struct TilePlace {
  unsigned row, rows, col, cols, begin, end;
};

// The tile of kM x kN elements of c = a b, sums in W. The factors are functions of (outer, inner): `outer` is the row of
// a or the column of b, `inner` what is summed over. A factor is a struct with
//   Outer outer(unsigned)       what is to be known of a row (a column),
//   Inner inner(unsigned)       and of a term,
//   W operator()(Outer, Inner)  the element;
//   kAlongInner                 whether elements of consecutive `inner` lie side by side in memory, not of `outer`.
template <class W, int kCols_>
class Tile {
 public:
  static constexpr int kThreads = 256, kM = 64, kN = kCols_;
  static constexpr int kBlocksAtOnce = 1;

 private:
  static constexpr int kK = 16;                                 // terms a step
  static constexpr int kSide = 16;                              // threads on a side of the tile
  static constexpr int kRows = kM / kSide, kCols = kN / kSide;  // elements of a thread

 public:
  static constexpr int kRun = kCols;
  static constexpr bool kReadsChunks = false;
  // Steps alternate between two buffers: one is filled while the other is read.
  struct Shared {
    alignas(16) W a[2][kK][kM + 4];
    alignas(16) W b[2][kK][kN + 4];
  };

  // write(row, col, sums) for each element of the tile: `sums` are those of kRun columns from `col` on, of which some may lie
  // outside of the product. An element is the same thread's in all tiles of a place. All threads of the block call this; `s` may
  // be used again after a barrier.
  template <class A, class B, class F>
  static __device__ void multiply(Shared& s, const A& a, const B& b, const TilePlace& at,
                                  const F& write) {
    Feed<A, kM> from_a(a, at.row, at.rows);
    Feed<B, kN> from_b(b, at.col, at.cols);
    from_a.fetch(at.begin, at.end), from_b.fetch(at.begin, at.end);
    Sums sums[kRows] = {};
    int buffer = 0;
    for (unsigned k = at.begin; k < at.end; k += kK, buffer ^= 1) {
      from_a.store(s.a[buffer]), from_b.store(s.b[buffer]);
      __syncthreads();
      if (k + kK < at.end) from_a.fetch(k + kK, at.end), from_b.fetch(k + kK, at.end);
      add_products(s.a[buffer], s.b[buffer], sums);
    }
    const unsigned row = at.row + threadIdx.x / kSide * kRows;
    const unsigned col = at.col + threadIdx.x % kSide * kCols;
    if (col >= at.cols) return;
    SFUMATO_UNROLL
    for (unsigned i = 0; i < kRows; ++i)
      if (row + i < at.rows) write(row + i, col, sums[i]);
  }

 private:
  using Sums = Numbers<W, kRun>;  // of a row

  static __device__ void add_products(const W (&a)[kK][kM + 4], const W (&b)[kK][kN + 4],
                                      Sums (&sums)[kRows]) {
    SFUMATO_UNROLL
    for (int k = 0; k < kK; ++k) {
      const auto rows = read_numbers<kRows>(&a[k][threadIdx.x / kSide * kRows]);
      const auto cols = read_numbers<kCols>(&b[k][threadIdx.x % kSide * kCols]);
      for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kCols; ++j) sums[i].of[j] += rows.of[i] * cols.of[j];
    }
  }

  // What a thread brings of a factor's part of kExtent x kK elements.
  template <class Factor, int kExtent>
  class Feed {
   public:
    __device__ Feed(const Factor& from, unsigned first, unsigned count)
        : from_(from), left_(count - first) {
      for (int i = 0; i < kOuters; ++i)
        outer_[i] = from.outer(outer(i) < left_ ? first + outer(i) : first);
    }
    __device__ void fetch(unsigned begin, unsigned end) {
      for (int i = 0; i < kInners; ++i) {
        const unsigned k = begin + inner(i);
        const typename Factor::Inner term = from_.inner(k);
        for (int o = 0; o < kOuters; ++o)
          value_[i + o] = k < end && outer(o) < left_ ? from_(outer_[o], term) : W(0);
      }
    }
    __device__ void store(W (&to)[kK][kExtent + 4]) const {
      for (int i = 0; i < kInners; ++i)
        for (int o = 0; o < kOuters; ++o) to[inner(i)][outer(o)] = value_[i + o];
    }

   private:
    // Threads that follow one another read what lies side by side, 32 bytes at least, and what a warp stores lies in different
    // banks: of 8 terms and 4 outer places, or of one term. Of `outer` and `inner` one is the same for all elements of a thread.
    static constexpr bool kAlong = Factor::kAlongInner;
    static constexpr int kCount = kExtent * kK / kThreads, kOuters = kAlong ? kCount : 1,
                         kInners = kAlong ? 1 : kCount;
    static __device__ unsigned outer(int i) {
      return kAlong ? threadIdx.x / 64 * 4 + threadIdx.x % 32 / 8 + i * (kThreads / kK)
                    : threadIdx.x % kExtent;
    }
    static __device__ unsigned inner(int i) {
      return kAlong ? threadIdx.x / 32 % 2 * 8 + threadIdx.x % 8
                    : threadIdx.x / kExtent + i * (kThreads / kExtent);
    }

    const Factor& from_;
    unsigned left_;  // rows (columns) from the first one on
    typename Factor::Outer outer_[kOuters];
    W value_[kCount];
  };
};

}  // namespace sfumato::cuda
