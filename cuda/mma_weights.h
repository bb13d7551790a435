// A tile of the weights' gradient of a 3x3 convolution on tensor cores, whose pixels are copied to shared memory once for all
// taps of the tile: dw[(tap, p), o] = Σ over pixels: u at the pixel under the tap, p  dy[pixel, o].
#pragma once
#include "cuda/conv_factors.h"
#include "cuda/mma_tile.h"

namespace sfumato::cuda {

// Which tile: taps [tap, ...) of the filter and channels [p, ...), columns from `col` on; pixels [begin, end).
struct TapsPlace {
  unsigned tap, p, col, cols, begin, end;
};

// How all (tap, p) are parted into tiles of 192: 64, 32 or 16 channels, which divide all, of 3, 6 or 12 taps that follow one
// another.
struct TapsOfTile {
  static constexpr unsigned kRows = 192;
  unsigned channels;  // all
  Divisor of_tile;    // channels
  unsigned taps;

  explicit TapsOfTile(unsigned channels)
      : channels(channels),
        of_tile(channels % 64 == 0   ? 64
                : channels % 32 == 0 ? 32
                                     : 16),
        taps(kRows / of_tile) {}
  static constexpr unsigned kAllTaps = 9;
  constexpr unsigned across() const { return channels / of_tile; }
  constexpr unsigned count() const { return (kAllTaps + taps - 1) / taps * across(); }
};

// kCols_ columns, 64, 32 or 16; numbers are bf16. Warps side by side share the columns, or, of 16, the terms.
template <int kCols_>
class MmaWeights : private MmaTile<AsBf16, kCols_> {
  using Tile = MmaTile<AsBf16, kCols_>;
  using typename Tile::Shared;
  static constexpr int kK = Tile::kK, kPack = Tile::kPack, kThreads = Tile::kThreads;
  static constexpr int kWarpsAcross = 2, kWarpsDown = kThreads / 32 / kWarpsAcross;
  // Matrices [16, 16] of a warp.
  static constexpr int kRows = TapsOfTile::kRows / kWarpsDown / 16;
  static constexpr bool kHalfOfTerms = kCols_ < 32;
  static constexpr int kCols = kHalfOfTerms ? 1 : kCols_ / kWarpsAcross / 16;

 public:
  // write(row, col, sums) as MmaTile::multiply(), where `row` is tap channels + p.
  template <class B, class F>
  static __device__ void multiply(Shared& shared, const TapsOfTile& taps,
                                  const PixelsUnderTaps<bf16>& u, const B& dy, const TapsPlace& at,
                                  const F& write) {
    auto& s = shared.stages;
    const typename Tile::template Feed<B, kCols_> from_dy(dy, at.col, at.cols);
    const Window window(u, taps, at);
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned row = warp / kWarpsAcross * (kRows * 16),
                   col = kHalfOfTerms ? 0 : warp % kWarpsAcross * (kCols * 16);
    const RowOfFour named = beside_first(lane);
    const Rows of(u, taps, at, row, named.chunk);
    if (threadIdx.x < std::size(s.window.zeros)) s.window.zeros[threadIdx.x] = Chunk{};
    float sums[kRows][kCols * 2][4] = {};
    const auto bring = [&](unsigned stage, unsigned k) {
      if (k < at.end) window.bring(s.window.pixels[stage], k), from_dy.bring(s.b[stage], k, at.end);
      commit_copies();
    };
    for (unsigned stage = 0; stage + 1 < Tile::kStages; ++stage)
      bring(stage, at.begin + stage * kK);
    unsigned stage = 0;
    for (unsigned k = at.begin; k < at.end; k += kK) {
      wait_for_copies<Tile::kStages - 2>();
      __syncthreads();
      bring((stage + Tile::kStages - 1) % Tile::kStages, k + (Tile::kStages - 1) * kK);
      for (unsigned step = kHalfOfTerms ? warp % 2 : 0; step < 2; step += kHalfOfTerms ? 2 : 1) {
        const unsigned pixel = step * 16 + named.row;
        const std::uint32_t inside = u.inside(k + pixel);
        Fragment<AsBf16> cols[kCols];
        for (int j = 0; j < kCols; ++j)
          cols[j] = Tile::template load<B, kCols_, false>(s.b[stage], col + j * 16, step);
        SFUMATO_UNROLL
        for (int i = 0; i < kRows; ++i) {
          if (of.tap[i] >= u.taps()) continue;
          Fragment<AsBf16> rows;
          load_transposed(
              rows.words,
              inside >> of.tap[i] & 1
                  ? &s.window.pixels[stage][window.place(pixel + of.shift[i], of.chunk[i])]
                  : &s.window.zeros[window.place((pixel + of.shift[i]) % 8, of.chunk[i])]);
          for (int j = 0; j < kCols * 2; ++j) add_product(sums[i][j], rows, cols[j / 2], j % 2);
        }
      }
      stage = (stage + 1) % Tile::kStages;
    }
    SFUMATO_UNROLL
    for (int i = 0; i < kRows; ++i)
      write_sums(shared, sums[i], i, at, [&](unsigned of_tile, unsigned o, const auto& run) {
        const unsigned t = at.tap + of_tile / taps.of_tile;
        if (t < u.taps()) write(t * taps.channels + at.p + of_tile % taps.of_tile, o, run);
      });
  }

 private:
  // Of the rows of each of the warp's matrices, the first of which is `row` of the tile: their tap, how far its pixels are from
  // those of the first tap, and the chunk that the lane names.
  struct Rows {
    unsigned tap[kRows], shift[kRows], chunk[kRows];
    __device__ Rows(const PixelsUnderTaps<bf16>& u, const TapsOfTile& taps, const TapsPlace& at,
                    unsigned row, unsigned named_chunk) {
      SFUMATO_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const unsigned of_tile = row + i * 16;
        tap[i] = at.tap + of_tile / taps.of_tile;
        shift[i] = tap[i] < u.taps() ? u.shift(tap[i]) - u.shift(at.tap) : 0;
        chunk[i] = of_tile % taps.of_tile / kPack + named_chunk;
      }
    }
  };

  // By way of shared memory, as MmaTile::write_sums(), number i of each warp's matrices.
  template <class F>
  static __device__ void write_sums(Shared& s, const float (&sums)[kCols * 2][4], unsigned i,
                                    const TapsPlace& at, const F& write) {
    constexpr unsigned kStaged = kWarpsDown * 16;  // rows
    const unsigned warp = threadIdx.x / 32, down = warp / kWarpsAcross * 16,
                   across = warp % kWarpsAcross;
    __syncthreads();
    Tile::stage(s, down + (kHalfOfTerms ? across * kStaged : 0),
                kHalfOfTerms ? 0 : across * (kCols * 16), sums);
    __syncthreads();
    Tile::template each_run<kStaged>(s, [&](unsigned row, unsigned col, auto run) {
      if (kHalfOfTerms) run += read_numbers<Tile::kRun>(&s.sums[kStaged + row][col]);
      if (at.col + col < at.cols)
        write(row / 16 * (kRows * 16) + i * 16 + row % 16, at.col + col, run);
    });
  }

  // The pixels under the tile's taps, of kK pixels that follow one another: a run of pixels, since taps follow one another.
  struct Window {
    const PixelsUnderTaps<bf16>& u;
    unsigned p, chunks, log_chunks;  // first channel; of a pixel
    unsigned shift, rows;            // from a pixel to that under the first tap; pixels

    __device__ Window(const PixelsUnderTaps<bf16>& u, const TapsOfTile& taps, const TapsPlace& at)
        : u(u),
          p(at.p),
          chunks(taps.of_tile / kPack),
          log_chunks(chunks == 8   ? 3
                     : chunks == 4 ? 2
                                   : 1),
          shift(u.shift(at.tap)),
          rows(kK + u.shift((at.tap + taps.taps < u.taps() ? at.tap + taps.taps : u.taps()) - 1) -
               shift) {}
    // As swizzled<chunks>().
    __device__ unsigned place(unsigned row, unsigned c) const {
      return (row << log_chunks) + (c ^ (row >> (3 - log_chunks) & (chunks - 1)));
    }
    // Begins to copy them for the pixels from k on; zeros what is of no picture. By whole warps.
    __device__ void bring(Chunk* to, unsigned k) const {
      const unsigned all = rows << log_chunks, pixels = u.pixels;
      for (unsigned i = threadIdx.x; i < (all + 31) / 32 * 32; i += kThreads) {
        const unsigned row = i >> log_chunks, c = i & (chunks - 1), pixel = k + shift + row;
        copy_chunk(&to[place(row, c)],
                   i < all && pixel < pixels ? u.chunk(pixel, p + c * kPack) : nullptr);
      }
    }
  };
};

}  // namespace sfumato::cuda
