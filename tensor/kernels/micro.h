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
// docs/kernels.md draws the three layouts.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Rows of a block with N vectors. AVX-512's 32 registers: 14x2 sums + 2 of b + 1 of a. 16
// registers: 6x2 + 2 + 1. With one vector, a longer column still covers the latency of the
// multiply-adds.
template <int N>
inline constexpr int kMaxRows = kRegisters == 32 ? 14 : (N == 1 ? 12 : 6);

// Channels per block of a tile. The distance between pixels is then a constant, and every address
// in tile_block is one pointer plus a constant displacement.
inline constexpr int kBlock = 16;

// Where the sums start, where they go, and what to prefetch meanwhile. The last of the N vectors may
// be a tail.
template <class T>
struct Output {
  T* out;  // row m at out + m * stride
  index stride;
  index lanes;              // columns inside the array, (N-1)*L < lanes <= N*L
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

// The prefetch address inside a block. With nothing to prefetch it stays on the line `here`.
template <int Lines>
class PrefetchCursor {
 public:
  [[gnu::always_inline]] PrefetchCursor(const void* next, const void* here)
      : at_(static_cast<const char*>(next ? next : here)), step_(next ? Lines * kCache.line : 0) {}
  [[gnu::always_inline]] void step() {
#pragma GCC unroll 2
    for (int i = 0; i < Lines; ++i) __builtin_prefetch(at_ + i * kCache.line, 0, 2);
    at_ += step_;
  }

 private:
  const char* at_;
  index step_;
};

template <class T, int M, int N, class Last>
[[gnu::always_inline]] inline void start(Vec<T> (&sum)[M][N], const Output<T>& o, Last last) {
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    const T* row = o.init + m * o.init_stride;
#pragma GCC unroll 2
    for (int n = 0; n < N - 1; ++n) sum[m][n] = load(row + n * kLanes<T>);
    sum[m][N - 1] = load(row + (N - 1) * kLanes<T>, last);
  }
}

template <class T, int M, int N>
[[gnu::always_inline]] inline void start(Vec<T> (&sum)[M][N], const Output<T>& o) {
  if (o.init == nullptr) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sum[m][n] = Vec<T>{};
    }
  } else if (o.lanes == N * kLanes<T>) {
    start(sum, o, AllLanes{});
  } else {
    start(sum, o, Tail{static_cast<int>(o.lanes - (N - 1) * kLanes<T>)});
  }
}

template <class T, int M, int N, class Last>
[[gnu::always_inline]] inline void finish(const Vec<T> (&sum)[M][N], Output<T> o, Last last) {
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    T* row = o.out + m * o.stride;
#pragma GCC unroll 2
    for (int n = 0; n < N - 1; ++n) store<T>(row + n * kLanes<T>, sum[m][n]);
    store<T>(row + (N - 1) * kLanes<T>, sum[m][N - 1], last);
  }
}

template <class T, int M, int N>
[[gnu::always_inline]] inline void finish(const Vec<T> (&sum)[M][N], Output<T> o) {
  if (o.streamed) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) stream(o.out + m * o.stride + n * kLanes<T>, sum[m][n]);
    }
  } else if (o.lanes == N * kLanes<T>) {
    finish(sum, o, AllLanes{});
  } else {
    finish(sum, o, Tail{static_cast<int>(o.lanes - (N - 1) * kLanes<T>)});
  }
}

// One multiply-add of every sum in the block: b's vectors against a[0], a[Stride], a[2*Stride]...
template <int Stride, class T, int M, int N>
[[gnu::always_inline]] inline void multiply_add(Vec<T> (&sum)[M][N], const T* a, const T* b) {
  Vec<T> columns[N];
#pragma GCC unroll 2
  for (int n = 0; n < N; ++n) columns[n] = load(b + n * kLanes<T>);
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    const Vec<T> row = splat(a[m * Stride]);
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) sum[m][n] += columns[n] * row;
  }
}

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

// b is a panel: [k, N*L], packed in the order in which k is walked.
template <class T, int M, int N, int Stride>
void tile_block(const T* tile, const Reduction& reduction, const T* panel, const Output<T>& o) {
  Vec<T> sum[M][N];
  PrefetchCursor<1> prefetch(o.prefetch, panel);
  start(sum, o);
  for (index row = 0; row < reduction.rows; ++row, tile += reduction.row_stride) {
    for (index g = 0; g < reduction.count; ++g) {
      const T* a = tile + reduction.segments[g].offset;
      // Not unrolled: the block is long enough, and GCC would mix neighbouring steps, run out of
      // registers and put sums on the stack (a fifth of the speed with 16 registers).
      for (index s = 0; s < reduction.segments[g].steps; ++s, panel += N * kLanes<T>) {
        prefetch.step();
        multiply_add<Stride>(sum, a + s, panel);
      }
    }
  }
  finish(sum, o);
}

// tile_block for M outputs in each of two rows of an image, the second of which goes to out2: for
// rows of outputs so short that one leaves most of a register block empty. Both start at o.init.
template <class T, int M>
void pair_block(const T* tile, const Reduction& reduction, const T* panel, const Output<T>& o,
                T* out2) {
  constexpr int N = 2;
  Vec<T> sum[M][N], sum2[M][N];
  PrefetchCursor<1> prefetch(o.prefetch, panel);
  start(sum, o);
  start(sum2, o);
  for (index row = 0; row < reduction.rows; ++row, tile += reduction.row_stride) {
    for (index g = 0; g < reduction.count; ++g) {
      const T* a = tile + reduction.segments[g].offset;
      for (index s = 0; s < reduction.segments[g].steps; ++s, panel += N * kLanes<T>) {
        prefetch.step();
        multiply_add<kBlock>(sum, a + s, panel);
        multiply_add<kBlock>(sum2, a + s + reduction.second, panel);
      }
    }
  }
  finish(sum, o);
  Output<T> other = o;
  other.out = out2;
  finish(sum2, other);
}

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

// With Sums, b's rows are also added up; the additions use execution ports that the multiply-adds
// leave free. Such blocks read all of b once, from memory, and prefetch two lines per step.
template <class T, int M, int N, bool Sums = false>
void outer_block(const T* a, const T* b, const Walk& walk, const Output<T>& o) {
  Vec<T> sum[M][N], column_sum[N];
  PrefetchCursor<kLinesPerStep<Sums>> prefetch(o.prefetch, b);
  start(sum, o);
  for (int n = 0; Sums && n < N; ++n) column_sum[n] = load(o.column_sums + n * kLanes<T>);
  for (index image = 0; image < walk.images; ++image) {
    for (index row = 0; row < walk.rows; ++row) {
      const T* pa = a + image * walk.a_image + row * walk.a_row;
      const T* pb = b + image * walk.b_image + row * walk.b_row;
      for (index col = 0; col < walk.cols; ++col, pa += walk.a_col, pb += walk.b_col) {
        prefetch.step();
        multiply_add<1>(sum, pa, pb);
#pragma GCC unroll 2
        for (int n = 0; Sums && n < N; ++n) column_sum[n] += load(pb + n * kLanes<T>);
      }
    }
  }
  finish(sum, o);
  for (int n = 0; Sums && n < N; ++n) store<T>(o.column_sums + n * kLanes<T>, column_sum[n]);
}

// tile_block for rows `lda` apart instead of in a tile: for products that use each row only once or
// twice, so that copying it would cost more than it saves. Each step prefetches `prefetch_step` bytes
// after the last one, from `o.prefetch` on: the hardware prefetcher does not follow many short rows.
template <class T, int M, int N>
void rows_block(const T* a, index lda, index k, index prefetch_step, const T* panel,
                const Output<T>& o) {
  // One pointer for three rows: x86 addresses p, p + lda and p + 2 lda from two registers.
  constexpr int kPointers = (M + 2) / 3;
  Vec<T> sum[M][N];
  const T* rows[kPointers];
  for (int i = 0; i < kPointers; ++i) rows[i] = a + 3 * i * lda;
  const char* prefetch = static_cast<const char*>(o.prefetch);
  start(sum, o);
  for (index s = 0; s < k; ++s, panel += N * kLanes<T>, prefetch += prefetch_step) {
    __builtin_prefetch(prefetch);
    Vec<T> columns[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) columns[n] = load(panel + n * kLanes<T>);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Vec<T> row = splat(rows[m / 3][m % 3 * lda]);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sum[m][n] += columns[n] * row;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kPointers; ++i) ++rows[i];
  }
  finish(sum, o);
}

// ---- the block's size chosen at run time: 1 <= rows <= kMaxRows<vectors>

template <class T>
using TileFn = void (*)(const T*, const Reduction&, const T*, const Output<T>&);
template <class T>
using OuterFn = void (*)(const T*, const T*, const Walk&, const Output<T>&);

template <class T>
using PairFn = void (*)(const T*, const Reduction&, const T*, const Output<T>&, T*);

template <class T>
using RowsFn = void (*)(const T*, index, index, index, const T*, const Output<T>&);

template <class T, int N, int Stride, int... M>
inline TileFn<T> tile_function(index rows, Indices<M...>) {
  static constexpr TileFn<T> table[] = {tile_block<T, M + 1, N, Stride>...};
  return table[rows - 1];
}
template <class T, int N, bool Sums, int... M>
inline OuterFn<T> outer_function(index rows, Indices<M...>) {
  static constexpr OuterFn<T> table[] = {outer_block<T, M + 1, N, Sums>...};
  return table[rows - 1];
}

template <class T, int N, int... M>
inline RowsFn<T> rows_function(index rows, Indices<M...>) {
  static constexpr RowsFn<T> table[] = {rows_block<T, M + 1, N>...};
  return table[rows - 1];
}
template <class T>
inline RowsFn<T> rows_function(index rows, index vectors) {
  if (vectors == 2) return rows_function<T, 2>(rows, typename MakeIndices<kMaxRows<2>>::type());
  return rows_function<T, 1>(rows, typename MakeIndices<kMaxRows<1>>::type());
}

// Outputs of a row that a pair_block takes.
inline constexpr int kMaxPairs = kMaxRows<2> / 2;
template <class T, int... M>
inline PairFn<T> pair_function(index pairs, Indices<M...>) {
  static constexpr PairFn<T> table[] = {pair_block<T, M + 1>...};
  return table[pairs - 1];
}
template <class T>
inline PairFn<T> pair_function(index pairs) {
  return pair_function<T>(pairs, typename MakeIndices<kMaxPairs>::type());
}

template <class T, int Stride = kBlock>
inline TileFn<T> tile_function(index rows, index vectors) {
  if (vectors == 2)
    return tile_function<T, 2, Stride>(rows, typename MakeIndices<kMaxRows<2>>::type());
  return tile_function<T, 1, Stride>(rows, typename MakeIndices<kMaxRows<1>>::type());
}
// (A block with Sums has one row less, whose registers hold the sums.)
template <class T, bool Sums = false>
inline OuterFn<T> outer_function(index rows, index vectors) {
  constexpr int kTwo = kMaxRows<2> - Sums, kOne = kMaxRows<1> - Sums;
  if (vectors == 2) return outer_function<T, 2, Sums>(rows, typename MakeIndices<kTwo>::type());
  return outer_function<T, 1, Sums>(rows, typename MakeIndices<kOne>::type());
}

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
