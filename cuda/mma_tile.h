// A tile of a product of matrices on tensor cores (mma.h), by a block. The counterpart of Tile (tile.h), with the same
// factors, whose elements are multiplied as P says (mma_fragment.h). A factor says by `in_chunks` whether
//   const T* chunk(Outer, Inner)
// is the address of the element and of those after it that fill 16 bytes, or null for zeros: these are copied to shared
// memory while earlier ones are multiplied. Elements of another factor are read one by one.
//
// Shared memory holds chunks in rows of four or more: a factor whose terms lie side by side in memory is kept as rows of 64
// bytes of terms, one for each of its outer places; another as rows of outer places, one for each term. Chunks are swizzled, so
// that eight lanes, which load_matrices serves at once, never meet in the same banks.
#pragma once
#include "cuda/mma_fragment.h"
#include "cuda/tile.h"

namespace sfumato::cuda {

// 64, 32 or 16 columns; in TF32 no fewer than 32.
template <class P, int kCols_>
class MmaTile {
  using S = typename P::Number;

 public:
  static constexpr int kThreads = 256, kM = 128, kN = kCols_, kBlocksAtOnce = 2;

 protected:
  static constexpr int kPack = kOfChunk<S>;  // elements of a chunk
  static constexpr unsigned kStages = 3;
  static constexpr int kWarpsAcross = kN > 32 ? kN / 32 : 1,
                       kWarpsDown = kThreads / 32 / kWarpsAcross;
  // Matrices [16, 8] of a warp.
  static constexpr int kRows = kM / kWarpsDown / 16, kCols = kN / kWarpsAcross / 8;
  static constexpr unsigned kPeriod = 8;  // rows after which chunks are swizzled alike

 public:
  static constexpr bool kReadsChunks = true;
  static constexpr int kK = 64 / sizeof(S);  // terms a step
  static constexpr int kRun = 4;
  // Pixels that taps reach before a pixel, and after: those of 3x3 filters in rows of 64.
  static constexpr unsigned kMostHalo = 65;

 protected:
  // What lies under taps of a tile of weights (mma_weights.h): at most 98 pixels of 4 chunks and some that fill a warp's copy.
  static constexpr unsigned kWindow = 416;
  // kExtent outer places by kK terms.
  template <int kExtent>
  struct Panel {
    Chunk chunks[kExtent * 4];
  };
  using Patch = Panel<(kM + 2 * kMostHalo + kPeriod - 1) / kPeriod * kPeriod>;

 public:
  // While one stage is multiplied, the others are filled.
  struct Stages {
    union {
      Panel<kM> a[kStages];
      struct {
        Patch patches[2];
        Panel<kPeriod> zeros;
      } pixels;
      struct {
        Chunk pixels[kStages][kWindow], zeros[kPeriod * 8];
      } window;
    };
    Panel<kN> b[kStages];
  };
  // In the end the sums take their place: with 8 more columns, so that rows that follow one another begin in other banks.
  union Shared {
    Stages stages;
    alignas(16) float sums[kM][kN + 8];
  };

  // As Tile::multiply().
  template <class A, class B, class F>
  static __device__ void multiply(Shared& shared, const A& a, const B& b, const TilePlace& at,
                                  const F& write) {
    Stages& s = shared.stages;
    const Feed<A, kM> from_a(a, at.row, at.rows);
    const Feed<B, kN> from_b(b, at.col, at.cols);
    const Warp warp(at);
    Sums sums = {};
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
      if (warp.works)
        add_products<B>(sums, s.b[stage], warp.col, [&](int i, int step) {
          return load<A, kM, true>(s.a[stage], warp.row + i * 16, step);
        });
      stage = (stage + 1) % kStages;
    }
    write_sums(shared, sums, warp, at, write);
  }

  // The same where a's rows are pixels, and its terms all that lies under the taps of a filter (PixelsUnderTaps,
  // conv_factors.h); b's are [tap, channel]. All taps read some channels from one copy in shared memory (a patch), of the
  // tile's pixels and of a.halo() more before and after; what is outside of the picture is read from zeros, in the same banks.
  template <class Pixels, class B, class F>
  static __device__ void multiply_taps(Shared& shared, const Pixels& a, const B& b,
                                       const TilePlace& at, const F& write) {
    if (a.channels % kK == 0) return multiply_patches<4>(shared, a, b, at, write);
    multiply_patches<2>(shared, a, b, at, write);
  }

 protected:
  using Sums = float[kRows][kCols][4];
  // The part of the tile that the thread's warp sums.
  struct Warp {
    unsigned row, col;
    bool works;  // not outside of the product
    explicit __device__ Warp(const TilePlace& at)
        : row(threadIdx.x / 32 / kWarpsAcross * (kRows * 16)),
          col(threadIdx.x / 32 % kWarpsAcross * 32),
          works(at.row + row < at.rows) {}
  };

  // multiply_taps() with patches of kChunks chunks of channels: a step takes four chunks of one tap, or two of two.
  template <unsigned kChunks, class Pixels, class B, class F>
  static __device__ void multiply_patches(Shared& shared, const Pixels& a, const B& b,
                                          const TilePlace& at, const F& write) {
    constexpr unsigned kTaps = 4 / kChunks, kChannels = kChunks * kPack;
    Stages& s = shared.stages;
    const Feed<B, kN> from_b(b, at.col, at.cols);
    const Warp warp(at);
    const RowOfFour named = below_first(threadIdx.x % 32);
    const unsigned steps = (a.taps() + kTaps - 1) / kTaps;  // of a patch
    // Of the pixels whose rows the lane names: the taps that meet the picture.
    std::uint32_t inside[kRows];
    SFUMATO_UNROLL
    for (int i = 0; i < kRows; ++i) inside[i] = a.inside(at.row + warp.row + i * 16 + named.row);
    if (threadIdx.x < kPeriod * 4) s.pixels.zeros.chunks[threadIdx.x] = Chunk{};
    Sums sums = {};

    unsigned next = 0, channel = 0;  // step of a patch, and the patch, of what is brought next
    const auto bring = [&](unsigned stage) {
      if (channel < a.channels) {
        const unsigned k = next * kTaps * a.channels + channel;
        from_b.bring(s.b[stage], k, kTaps == 1 ? k + kK / 2 : k + a.channels, at.end);
        // A patch's place is free once the first step after it has begun.
        if (next == 0 && channel == 0) bring_patch<kChunks>(s.pixels.patches[0], a, at, 0);
        if (next == kStages - 1 && channel + kChannels < a.channels)
          bring_patch<kChunks>(s.pixels.patches[channel / kChannels % 2 ^ 1], a, at,
                               channel + kChannels);
        if (++next == steps) next = 0, channel += kChannels;
      }
      commit_copies();
    };
    for (unsigned stage = 0; stage + 1 < kStages; ++stage) bring(stage);
    unsigned stage = 0;
    for (unsigned c = 0; c < a.channels; c += kChannels) {
      const Patch& patch = s.pixels.patches[c / kChannels % 2];
      for (unsigned t = 0; t < steps * kTaps; t += kTaps) {
        wait_for_copies<kStages - 2>();
        __syncthreads();
        bring((stage + kStages - 1) % kStages);
        const unsigned first = a.halo() + warp.row + named.row;
        const unsigned early = first + a.shift(t), late = first + a.shift(t + kTaps - 1);
        if (warp.works)
          add_products<B>(sums, s.b[stage], warp.col, [&](int i, int step) {
            const unsigned row = (step == 0 ? early : late) + i * 16,
                           tap = kTaps == 1 ? t : t + step,
                           at_chunk = (kTaps == 1 ? step * 2 : 0) + named.chunk;
            Fragment<P> r;
            load_matrices(r.words,
                          inside[i] >> tap & 1
                              ? &patch.chunks[swizzled<kChunks>(row, at_chunk)]
                              : &s.pixels.zeros.chunks[swizzled<kChunks>(row % kPeriod, at_chunk)]);
            r.round();
            return r;
          });
        stage = (stage + 1) % kStages;
      }
    }
    write_sums(shared, sums, warp, at, write);
  }

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

  // Begins to copy kChunks chunks of channels of a tile's pixels and of those around them. Pixels of other images than the
  // tile's may not be there yet; nobody needs them. By whole warps.
  template <unsigned kChunks, class Pixels>
  static __device__ void bring_patch(Patch& to, const Pixels& a, const TilePlace& at,
                                     unsigned channel) {
    constexpr unsigned kOfWarp = 32 / kChunks;  // pixels
    const unsigned halo = a.halo(), end = at.row + kM < at.rows ? at.row + kM : at.rows;
    const unsigned first = a.first_of_image(at.row),
                   count = a.first_of_image(end - 1) + a.of_image - first;
    const unsigned rows = kM + (2 * halo + kOfWarp - 1) / kOfWarp * kOfWarp;
    for (unsigned i = threadIdx.x; i < rows * kChunks; i += kThreads) {
      const unsigned row = i / kChunks, c = i % kChunks, pixel = at.row + row - halo;
      copy_chunk(&to.chunks[swizzled<kChunks>(row, c)],
                 pixel - first < count ? a.chunk(pixel, channel + c * kPack) : nullptr);
    }
  }

  // What multiply_add takes of 16 outer places in one step: four matrices, of a half of the places and a half of the terms.
  // Places go first in a's order, terms in b's (of which two columns' are here).
  template <class Factor, int kExtent, bool kOuterFirst>
  static __device__ Fragment<P> load(const Panel<kExtent>& panel, unsigned outer, unsigned step) {
    Fragment<P> r;
    using Rows = Layout<Factor, kExtent>;
    const unsigned lane = threadIdx.x % 32;
    const RowOfFour at =
        Factor::kAlongInner == kOuterFirst ? below_first(lane) : beside_first(lane);
    if constexpr (Factor::kAlongInner) {
      load_matrices(r.words, &panel.chunks[Rows::place(outer + at.row, step * 2 + at.chunk)]);
    } else if constexpr (sizeof(S) == 2) {
      load_transposed(r.words,
                      &panel.chunks[Rows::place(step * 16 + at.row, outer / 8 + at.chunk)]);
    } else {
      for (unsigned m = 0; m < 4; ++m) {
        const unsigned half = kOuterFirst ? m % 2 : m / 2, late = kOuterFirst ? m / 2 : m % 2;
        const unsigned place = outer + half * 8 + lane / 4, term = step * 8 + late * 4 + lane % 4;
        r.words[m] = load_word(&panel.chunks[Rows::place(term, place / 4)].words[place % 4]);
      }
    }
    r.round();
    return r;
  }

  // Adds the products of a step; load_rows(i, half of the step): 16 rows of a.
  template <class B, class LoadRows>
  static __device__ void add_products(Sums& sums, const Panel<kN>& b, unsigned col,
                                      const LoadRows& load_rows) {
    SFUMATO_UNROLL_BY(P::kInTwo ? 1 : 2)
    for (int step = 0; step < 2; ++step) {
      Fragment<P> rows[kRows];
      for (int i = 0; i < kRows; ++i) rows[i] = load_rows(i, step);
      for (int j = 0; j < kCols; j += 2) {
        const Fragment<P> cols = load<B, kN, false>(b, col + j * 8, step);
        for (int i = 0; i < kRows; ++i)
          add_product(sums[i][j], rows[i], cols, 0), add_product(sums[i][j + 1], rows[i], cols, 1);
      }
    }
  }
  // By way of shared memory, so that threads that follow one another write runs that do.
  template <class F>
  static __device__ void write_sums(Shared& s, const Sums& sums, const Warp& warp,
                                    const TilePlace& at, const F& write) {
    __syncthreads();
    SFUMATO_UNROLL
    for (int i = 0; i < kRows; ++i) stage(s, warp.row + i * 16, warp.col, sums[i]);
    __syncthreads();
    each_run<kM>(s, [&](unsigned row, unsigned col, const auto& run) {
      if (at.row + row < at.rows && at.col + col < at.cols) write(at.row + row, at.col + col, run);
    });
  }
  // Writes the warp's matrices [16, 8], side by side, to s.sums from a row and a column on.
  template <int kCount>
  static __device__ void stage(Shared& s, unsigned row, unsigned col,
                               const float (&sums)[kCount][4]) {
    struct Pair {
      float of[2];
    };
    SFUMATO_UNROLL
    for (int j = 0; j < kCount; ++j) {
      SFUMATO_UNROLL
      for (int half = 0; half < 2; ++half) {
        const Pair pair{{sums[j][half * 2], sums[j][half * 2 + 1]}};
        write_words(
            &s.sums[row + half * 8 + threadIdx.x % 32 / 4][col + j * 8 + threadIdx.x % 4 * 2],
            std::bit_cast<Words<sizeof pair>>(pair));
      }
    }
  }
  // f(row, col, run) for the runs of the first kCount rows of s.sums that the thread takes. Where rows are short, rows 2 and 1 of
  // four change places, so that eight threads, which are served at once, read from different banks.
  template <int kCount, class F>
  static __device__ void each_run(const Shared& s, const F& f) {
    constexpr unsigned kAcross = kN / kRun;
    SFUMATO_UNROLL_BY(2)
    for (unsigned i = 0; i < kCount * kAcross; i += kThreads) {
      const unsigned number = (i + threadIdx.x) / kAcross, col = (i + threadIdx.x) % kAcross * kRun;
      const unsigned row = kAcross < 8 ? number / 4 * 4 + number % 2 * 2 + number / 2 % 2 : number;
      f(row, col, read_numbers<kRun>(&s.sums[row][col]));
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
      bring(to, k, k + kK / 2, end);
    }
    // The same, half of them from `early` on and half from `late` on.
    __device__ void bring(Panel<kExtent>& to, unsigned early, unsigned late, unsigned end) const {
      SFUMATO_UNROLL
      for (int i = 0; i < kCount; ++i) {
        if (!has(i)) return;
        const unsigned k = inner(i) < kK / 2 ? early : late - kK / 2;
        Chunk* const chunk =
            &to.chunks[Rows::place(number(i) / Rows::kChunks, number(i) % Rows::kChunks)];
        if (from_.in_chunks) {
          const unsigned term = k + inner(i);
          copy_chunk(chunk, term < end ? from_.chunk(outer_[i], from_.inner(term)) : nullptr);
        } else {
          struct {
            S of[kPack];
          } numbers;
          SFUMATO_UNROLL
          for (unsigned e = 0; e < kPack; ++e) numbers.of[e] = S(element(i, e, k, end));
          write_words(chunk, std::bit_cast<Chunk>(numbers));
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
