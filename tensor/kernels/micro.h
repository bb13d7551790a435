// The micro-kernels: the register-blocked loops in which nearly all arithmetic happens. All compute
//   out[m, :] = init[m, :] + Σ_k a(m, k) b[k, :]
// for M rows and N vectors of columns held in M*N registers. Each step of k loads N vectors of b and
// broadcasts M elements of a: M + N loads for M*N multiply-adds, so the block is as large as the
// register file allows. They differ in how a is laid out:
//
//   tile_block   k is contiguous, rows are kBlock elements apart (images, see tile.h).
//   pair_block   the same for two rows of short images at a time.
//   rows_block   k is contiguous, rows are any distance apart (1x1 convolutions, linear layers).
//   outer_block  m is contiguous, k strides (weight gradients, transposed matrices, attention).
//
// docs/kernels.md draws them. Here is what their callers need; register_blocks.h has the
// loops, which sets/register_blocks.cpp compiles once for all callers.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Rows of a block with N vectors. AVX-512's 32 registers: 14x2 sums + 2 of b + 1 of a. 16
// registers: 6x2 + 2 + 1. With one vector, which is rare there, 8 sums are what covers the latency
// of two multiply-adds a cycle.
template <int N>
inline constexpr int kMaxRows = kRegisters == 32 ? 14 : (N == 1 ? 8 : 6);

// Outputs of a pair_block in each of its two rows. With 32 registers, nothing needs more than one
// (pairing_is_profitable in correlate.h).
inline constexpr int kMaxPairs = kRegisters == 32 ? 1 : kMaxRows<2> / 2;

// Channels per block of a tile. The distance between pixels is then a constant, and every address
// in tile_block is one pointer plus a constant displacement.
inline constexpr int kBlock = 16;

// Where the sums start, where they go, and what to prefetch meanwhile.
template <class T>
struct Output {
  T* out;  // row m at out + m * stride
  index stride;
  index lanes;  // columns inside the array, (N-1)*L < lanes <= N*L: the last vector may be a tail
  index second = 0;         // pair_block: from the first row of the image to the second, in `out`
  const T* init = nullptr;  // null: start at 0
  index init_stride = 0;  // 0: the same row for all (a bias); `init = out`, its stride: accumulate
  bool streamed = false;
  const void* prefetch = nullptr;  // memory to prefetch into L2, a line or two per step of k
  T* column_sums = nullptr;        // += Σ_k b[k, :], of blocks with Sums
};

// Prefetches `count` elements. The hardware prefetcher follows linear scans, but not blocks.
template <class T>
inline void prefetch(const T* p, index count) {
  for (index i = 0; i < count; i += kCache.line / static_cast<index>(sizeof(T)))
    __builtin_prefetch(p + i);
}

// Software prefetch: the input of the next block, one cache line per k-step of the current block.
// The hardware prefetcher only helps inside a linear scan, so each scan would start with a miss.
class PrefetchQueue {
 public:
  template <class T>
  void add(const T* begin, index count) {
    if (count <= 0) return;
    regions_[count_++] = {reinterpret_cast<const char*>(begin),
                          count * static_cast<index>(sizeof(T))};
  }
  // For Output::prefetch of a block of `steps` steps; null when all has been handed out.
  const void* next(index steps) {
    if (at_ == count_) return nullptr;
    const char* from = regions_[at_].begin;
    regions_[at_].begin += steps * kCache.line;
    regions_[at_].bytes -= steps * kCache.line;
    if (regions_[at_].bytes <= 0) ++at_;
    return from;
  }

 private:
  struct Region {
    const char* begin;
    index bytes;
  };
  Region regions_[3];
  index count_ = 0, at_ = 0;
};

// A run of k: `steps` consecutive elements of each row, `offset` from the tile pointer.
struct Segment {
  index offset, steps;
};
// The reduction: the same segments on `rows` rows of the tile. (For a 3x3 convolution of 64
// channels: 3 rows, each of 4 channel blocks x 3 taps = 12 segments of 16 steps.)
struct Reduction {
  index rows, row_stride;
  const Segment* segments;
  index count;
  index second = 0;  // pair_block: from the first row's tile to the second row's
};

// Cache lines that a block prefetches in a step of k.
template <bool Sums>
inline constexpr int kLinesPerStep = Sums ? 2 : 1;

// How k walks through a and b: `cols` steps in each of `rows`, those in each of `images`, with a stride
// for each.
struct Walk {
  index images = 1, a_image = 0, b_image = 0;
  index rows = 1, a_row = 0, b_row = 0;
  index cols, a_col, b_col;
};
constexpr Walk straight(index count, index a_step, index b_step) {
  return {.cols = count, .a_col = a_step, .b_col = b_step};
}

// ---- the register blocks, by size: 1 <= rows <= max_rows(vectors)

// What a block works on where the last vector of `to` is a tail: whole vectors, which begin as `to` does.
template <class T>
class TailBuffer {
 public:
  TailBuffer(const Output<T>& to, index rows, index vectors, index images);
  const Output<T>& output() const { return output_; }
  void copy_to(const Output<T>& to) const;

 private:
  index rows_, images_;
  Output<T> output_;
  static constexpr int kSize = kMaxRows<2> * 2 * kLanes<T>;
  static_assert(kMaxRows<1> * kLanes<T> <= kSize && 2 * kMaxPairs * 2 * kLanes<T> <= kSize);
  T init_[kSize], sums_[kSize];
};

// A loop of register_blocks.h that knows whole vectors alone, and its size.
template <class T, class... Inputs>
class RegisterBlock {
 public:
  using Loop = void (*)(Inputs..., const Output<T>&);
  RegisterBlock(Loop loop, index rows, index vectors, index images = 1)
      : loop_(loop),
        rows_(static_cast<std::int32_t>(rows)),
        vectors_(static_cast<std::int16_t>(vectors)),
        images_(static_cast<std::int16_t>(images)) {}

  void operator()(Inputs... inputs, const Output<T>& o) const {
    const bool whole = o.lanes == vectors_ * kLanes<T>;
    whole ? loop_(inputs..., o) : with_tail(inputs..., o);
  }

 private:
  // A call: the buffer is not to lie in the frames of all callers.
  [[gnu::noinline]] void with_tail(Inputs... inputs, const Output<T>& o) const {
    TailBuffer<T> buffer(o, rows_, vectors_, images_);
    loop_(inputs..., buffer.output());
    buffer.copy_to(o);
  }

  // Sixteen bytes, which are returned in registers.
  Loop loop_;
  std::int32_t rows_;
  std::int16_t vectors_;
  std::int16_t images_;  // rows of an image at a time: 2 of pair_block
};

template <class T>
using TileBlock = RegisterBlock<T, const T* /*tile*/, const Reduction&, const T* /*panel*/>;
template <class T>
TileBlock<T> tile_function(index rows, index vectors);
// Rows Panels<T>::kWidth elements apart.
template <class T>
TileBlock<T> panel_tile_function(index rows, index vectors);

// Of 1 <= pairs <= kMaxPairs outputs in each of two rows of an image.
template <class T>
TileBlock<T> pair_function(index pairs);

// Takes tails as they are: its k may be so short (the taps of one channel) that a buffer would cost as much as the loop.
template <class T>
using RowsFn = void (*)(const T* a, index lda, index k, index prefetch_step, const T* panel,
                        const Output<T>&);
template <class T>
RowsFn<T> rows_function(index rows, index vectors);

// With Sums, there is one row less, whose registers hold the sums.
template <class T>
using OuterBlock = RegisterBlock<T, const T* /*a*/, const T* /*b*/, const Walk&>;
template <class T, bool Sums = false>
OuterBlock<T> outer_function(index rows, index vectors);

inline index max_rows(index vectors) { return vectors == 2 ? kMaxRows<2> : kMaxRows<1>; }

// Cuts `count` rows into nearly equal blocks of at most `most` and calls f(begin, rows). (28 rows in
// blocks of 6 are 6 6 6 5 5: equal blocks keep the registers busier than 6 6 6 6 4.)
template <class F>
[[gnu::always_inline]] inline void for_blocks_of(index most, index count, F&& f) {
  const index blocks = larger(1, div_up(count, most));
  index longer = count % blocks;  // blocks of one row more
  for (index begin = 0, rows; begin < count; begin += rows) {
    rows = count / blocks + (longer-- > 0);
    f(begin, rows);
  }
}

template <class F>
[[gnu::always_inline]] inline void for_row_blocks(index count, index vectors, F&& f) {
  for_blocks_of(max_rows(vectors), count, f);
}

// Columns (output channels) cut into panels of two vectors; the last may have one.
template <class T>
struct Panels {
  static constexpr index kWidth = 2 * kLanes<T>;
  index columns;
  index count() const { return div_up(columns, kWidth); }
  index lanes(index p) const { return smaller(kWidth, columns - p * kWidth); }
  index vectors(index p) const { return lanes(p) > kLanes<T> ? 2 : 1; }
  // Elements in panel p, and before it, when each column has `depth` of them.
  index width(index p) const { return vectors(p) * kLanes<T>; }
  index offset(index p, index depth) const { return p * kWidth * depth; }
  index size(index depth) const { return round_up(columns, kLanes<T>) * depth; }
};

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
