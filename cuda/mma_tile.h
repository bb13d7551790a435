// A tile of a product of matrices on tensor cores (mma.h), by a block. The counterpart of Tile (tile.h), with the same
// factors, whose elements are bf16 (S), or rounded to TF32 where S = float. A factor says by `in_chunks` whether
//   const T* chunk(Outer, Inner)
// is the address of the element and of those after it that fill 16 bytes, or null for zeros: these are copied to shared
// memory while earlier ones are multiplied. Elements of another factor are read one by one.
//
// Shared memory holds chunks in rows of four or more: a factor whose terms lie side by side in memory is kept as rows of 64
// bytes of terms, one for each of its outer places; another as rows of outer places, one for each term. Chunks are swizzled, so
// that eight lanes, which load_matrices serves at once, never meet in the same banks.
#pragma once
#include <bit>

#include "cuda/mma.h"
#include "cuda/tile.h"

namespace sfumato::cuda {

template <class S, int kCols_>
class MmaTile {
 public:
  static constexpr int kThreads = 256, kM = 128, kN = kCols_, kBlocksAtOnce = 2;

 private:
  static constexpr int kPack = kOfChunk<S>;  // elements of a chunk
  static constexpr int kK = 64 / sizeof(S);  // terms a step
  static constexpr unsigned kStages = 3;
  static constexpr int kWarpsAcross = kN / 32, kWarpsDown = kThreads / 32 / kWarpsAcross;
  static constexpr int kRows = kM / kWarpsDown / 16, kCols = 4;  // matrices [16, 8] of a warp

  // kExtent outer places by kK terms.
  template <int kExtent>
  struct Panel {
    Chunk chunks[kExtent * 4];
  };

 public:
  static constexpr bool kReadsChunks = true;
  // While one stage is multiplied, the others are filled.
  struct Shared {
    Panel<kM> a[kStages];
    Panel<kN> b[kStages];
  };

  // As Tile::multiply().
  template <class A, class B, class F>
  static __device__ void multiply(Shared& s, const A& a, const B& b, const TilePlace& at,
                                  const F& write) {
    Feed<A, kM> from_a(a, at.row, at.rows);
    Feed<B, kN> from_b(b, at.col, at.cols);
    const unsigned warp = threadIdx.x / 32;
    const unsigned row = warp / kWarpsAcross * (kRows * 16), col = warp % kWarpsAcross * 32;
    float sums[kRows][kCols][4] = {};
    const auto bring = [&](unsigned stage, unsigned k) {
      if (k < at.end) from_a.bring(s.a[stage], k, at.end), from_b.bring(s.b[stage], k, at.end);
      commit_copies();
    };
    for (unsigned stage = 0; stage + 1 < kStages; ++stage) bring(stage, at.begin + stage * kK);
    unsigned stage = 0;
    for (unsigned k = at.begin; k < at.end; k += kK) {
      wait_for_copies<kStages - 2>();
      __syncthreads();
      bring((stage + kStages - 1) % kStages, k + (kStages - 1) * kK);
      if (at.row + row < at.rows) add_products<A, B>(s.a[stage], s.b[stage], row, col, sums);
      stage = (stage + 1) % kStages;
    }
    SFUMATO_UNROLL
    for (int i = 0; i < kRows; ++i) {
      SFUMATO_UNROLL
      for (int j = 0; j < kCols; ++j) {
        SFUMATO_UNROLL
        for (int e = 0; e < 4; ++e) {
          const unsigned r = at.row + row + i * 16 + e / 2 * 8 + threadIdx.x % 32 / 4;
          const unsigned c = at.col + col + j * 8 + threadIdx.x % 4 * 2 + e % 2;
          if (r < at.rows && c < at.cols) write(r, c, sums[i][j][e]);
        }
      }
    }
  }

 private:
  // Of a panel's rows: how many chunks one has, and where chunk c of it is.
  template <class Factor, int kExtent>
  struct Layout {
    static constexpr int kChunks = Factor::kAlongInner ? 4 : kExtent / kPack;
    static constexpr __device__ unsigned place(unsigned row, unsigned c) {
      // Lanes that read words of TF32 read those of two chunks at once, of four rows.
      if (sizeof(S) == 4 && !Factor::kAlongInner) return row * kChunks + (c ^ row % 4 * 2);
      return swizzled<kChunks>(row, c);
    }
  };

  // What multiply_add takes of 16 outer places in one step: four matrices, of a half of the places and a half of the terms.
  // Places go first in a's order, terms in b's (of which two columns' are here).
  template <class Factor, int kExtent, bool kOuterFirst>
  static __device__ void load(std::uint32_t (&r)[4], const Panel<kExtent>& panel, unsigned outer,
                              unsigned step) {
    using Rows = Layout<Factor, kExtent>;
    const unsigned lane = threadIdx.x % 32;
    const RowOfFour at =
        Factor::kAlongInner == kOuterFirst ? below_first(lane) : beside_first(lane);
    if constexpr (Factor::kAlongInner) {
      load_matrices(r, &panel.chunks[Rows::place(outer + at.row, step * 2 + at.chunk)]);
    } else if constexpr (sizeof(S) == 2) {
      load_transposed(r, &panel.chunks[Rows::place(step * 16 + at.row, outer / 8 + at.chunk)]);
    } else {
      for (unsigned m = 0; m < 4; ++m) {
        const unsigned half = kOuterFirst ? m % 2 : m / 2, late = kOuterFirst ? m / 2 : m % 2;
        const unsigned place = outer + half * 8 + lane / 4, term = step * 8 + late * 4 + lane % 4;
        r[m] = load_word(&panel.chunks[Rows::place(term, place / 4)].words[place % 4]);
      }
    }
    if (sizeof(S) == 4)
      for (std::uint32_t& word : r) word = tf32_of(std::bit_cast<float>(word));
  }

  template <class A, class B>
  static __device__ void add_products(const Panel<kM>& a, const Panel<kN>& b, unsigned row,
                                      unsigned col, float (&sums)[kRows][kCols][4]) {
    for (int step = 0; step < 2; ++step) {
      std::uint32_t rows[kRows][4], cols[2][4];
      for (int i = 0; i < kRows; ++i) load<A, kM, true>(rows[i], a, row + i * 16, step);
      for (int j = 0; j < 2; ++j) load<B, kN, false>(cols[j], b, col + j * 16, step);
      for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kCols; ++j)
          multiply_add(S(), sums[i][j], rows[i], cols[j / 2][j % 2 * 2],
                       cols[j / 2][j % 2 * 2 + 1]);
    }
  }

  // What a thread brings of a factor's part of kExtent outer places by kK terms: some chunks.
  template <class Factor, int kExtent>
  class Feed {
   public:
    __device__ Feed(const Factor& from, unsigned first, unsigned count)
        : from_(from), first_(first), left_(count - first) {
      // One outside is the first one once more: nobody writes its sums.
      SFUMATO_UNROLL
      for (int i = 0; i < kCount; ++i)
        outer_[i] = from.outer(outer(i) < left_ ? first + outer(i) : first);
    }
    // Begins to bring the terms from k on, as far as they come before `end`.
    __device__ void bring(Panel<kExtent>& to, unsigned k, unsigned end) const {
      SFUMATO_UNROLL
      for (int i = 0; i < kCount; ++i) {
        if (!has(i)) return;
        Chunk* const chunk =
            &to.chunks[Rows::place(number(i) / Rows::kChunks, number(i) % Rows::kChunks)];
        if (from_.in_chunks) {
          const unsigned term = k + inner(i);
          copy_chunk(chunk, term < end ? from_.chunk(outer_[i], from_.inner(term)) : nullptr);
        } else {
          for (unsigned e = 0; e < kPack; ++e) store_number(chunk, e, S(element(i, e, k, end)));
        }
      }
    }

   private:
    using Rows = Layout<Factor, kExtent>;
    static constexpr int kCount = (kExtent * 4 + kThreads - 1) / kThreads;
    static __device__ unsigned number(int i) { return threadIdx.x + i * kThreads; }
    static __device__ bool has(int i) {
      return kExtent * 4 % kThreads == 0 || number(i) < kExtent * 4;
    }
    // Of a chunk's first element.
    static __device__ unsigned outer(int i) {
      return Factor::kAlongInner ? number(i) / Rows::kChunks : number(i) % Rows::kChunks * kPack;
    }
    static __device__ unsigned inner(int i) {
      return Factor::kAlongInner ? number(i) % Rows::kChunks * kPack : number(i) / Rows::kChunks;
    }
    // Element e of a chunk alone.
    __device__ float element(int i, unsigned e, unsigned begin, unsigned end) const {
      const unsigned o = outer(i) + (Factor::kAlongInner ? 0 : e);
      const unsigned k = begin + inner(i) + (Factor::kAlongInner ? e : 0);
      if (o >= left_ || k >= end) return 0;
      return from_(Factor::kAlongInner ? outer_[i] : from_.outer(first_ + o), from_.inner(k));
    }

    const Factor& from_;
    unsigned first_, left_;  // outer places from the first one on
    typename Factor::Outer outer_[kCount];
  };
};

}  // namespace sfumato::cuda
