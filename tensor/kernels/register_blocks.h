// The register blocks of micro.h: each loop for every number of rows and vectors that fits the
// registers. Only sets/register_blocks.cpp includes this.
#pragma once
#include "tensor/kernels/micro.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

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
[[gnu::always_inline]] inline void load_sums(Vec<T> (&sum)[M][N], const Output<T>& o, Last last) {
  const T* row = o.init;
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m, row += o.init_stride) {
#pragma GCC unroll 2
    for (int n = 0; n < N - 1; ++n) sum[m][n] = load(row + n * kLanes<T>);
    sum[m][N - 1] = load(row + (N - 1) * kLanes<T>, last);
  }
}

template <class T, int M, int N, class Last>
[[gnu::always_inline]] inline void store_sums(const Vec<T> (&sum)[M][N], Output<T> o, Last last) {
  T* row = o.out;
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m, row += o.stride) {
#pragma GCC unroll 2
    for (int n = 0; n < N - 1; ++n) store<T>(row + n * kLanes<T>, sum[m][n]);
    store<T>(row + (N - 1) * kLanes<T>, sum[m][N - 1], last);
  }
}

template <class T, int M, int N>
[[gnu::always_inline]] inline void stream_sums(const Vec<T> (&sum)[M][N], Output<T> o) {
  T* row = o.out;
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m, row += o.stride) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) stream(row + n * kLanes<T>, sum[m][n]);
  }
}

template <int N, class T>
[[gnu::always_inline]] inline Tail tail_of(const Output<T>& o) {
  return {static_cast<int>(o.lanes - (N - 1) * kLanes<T>)};
}

// With Tails, the last vector may be one.
template <bool Tails = false, class T, int M, int N>
[[gnu::always_inline]] inline void start(Vec<T> (&sum)[M][N], const Output<T>& o) {
  if (o.init == nullptr) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sum[m][n] = Vec<T>{};
    }
  } else if (!Tails || o.lanes == N * kLanes<T>) {
    load_sums(sum, o, AllLanes{});
  } else {
    load_sums(sum, o, tail_of<N>(o));
  }
}
template <bool Tails = false, class T, int M, int N>
[[gnu::always_inline]] inline void finish(const Vec<T> (&sum)[M][N], const Output<T>& o) {
  if (kStreams && o.streamed) {
    stream_sums(sum, o);
  } else if (!Tails || o.lanes == N * kLanes<T>) {
    store_sums(sum, o, AllLanes{});
  } else {
    store_sums(sum, o, tail_of<N>(o));
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

// tile_block for M outputs in each of two rows of an image: for rows of outputs so short that one leaves most of a register
// block empty. Both start at o.init.
template <class T, int M>
void pair_block(const T* tile, const Reduction& reduction, const T* panel, const Output<T>& o) {
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
  other.out += o.second;
  finish(sum2, other);
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
  start</*Tails=*/true>(sum, o);
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
  finish</*Tails=*/true>(sum, o);
}

// ---- the functions of micro.h

template <class T>
TailBuffer<T>::TailBuffer(const Output<T>& to, index rows, index vectors, index images)
    : rows_(rows), images_(images), output_(to) {
  const index width = vectors * kLanes<T>;
  output_.out = sums_;
  output_.stride = output_.lanes = width;
  output_.second = rows * width;
  output_.streamed = false;
  if (!to.init) return;
  output_.init = init_;
  output_.init_stride = to.init_stride ? width : 0;
  for (index m = 0; m < (to.init_stride ? rows : 1); ++m)
    for_vectors<T>(to.lanes, [&](index j, auto lanes) {
      store<T>(init_ + m * width + j, load(to.init + m * to.init_stride + j, lanes));
    });
}

template <class T>
void TailBuffer<T>::copy_to(const Output<T>& to) const {
  for (index image = 0; image < images_; ++image)
    for (index m = 0; m < rows_; ++m) {
      const T* row = sums_ + image * output_.second + m * output_.stride;
      T* const out = to.out + image * to.second + m * to.stride;
      for_vectors<T>(to.lanes,
                     [&](index j, auto lanes) { store<T>(out + j, load(row + j), lanes); });
    }
}

template <class T, int N, int Stride, int... M>
TileBlock<T> tile_function_of(index rows, Indices<M...>) {
  static constexpr typename TileBlock<T>::Loop table[] = {tile_block<T, M + 1, N, Stride>...};
  return {table[rows - 1], rows, N};
}
template <class T, int Stride>
TileBlock<T> tile_function_of(index rows, index vectors) {
  if (vectors == 2)
    return tile_function_of<T, 2, Stride>(rows, typename MakeIndices<kMaxRows<2>>::type());
  return tile_function_of<T, 1, Stride>(rows, typename MakeIndices<kMaxRows<1>>::type());
}
template <class T>
TileBlock<T> tile_function(index rows, index vectors) {
  return tile_function_of<T, kBlock>(rows, vectors);
}
template <class T>
TileBlock<T> panel_tile_function(index rows, index vectors) {
  return tile_function_of<T, Panels<T>::kWidth>(rows, vectors);
}

template <class T, int... M>
TileBlock<T> pair_function_of(index pairs, Indices<M...>) {
  static constexpr typename TileBlock<T>::Loop table[] = {pair_block<T, M + 1>...};
  return {table[pairs - 1], pairs, /*vectors=*/2, /*images=*/2};
}
template <class T>
TileBlock<T> pair_function(index pairs) {
  return pair_function_of<T>(pairs, typename MakeIndices<kMaxPairs>::type());
}

template <class T, int N, int... M>
RowsFn<T> rows_function_of(index rows, Indices<M...>) {
  static constexpr RowsFn<T> table[] = {rows_block<T, M + 1, N>...};
  return table[rows - 1];
}
template <class T>
RowsFn<T> rows_function(index rows, index vectors) {
  if (vectors == 2) return rows_function_of<T, 2>(rows, typename MakeIndices<kMaxRows<2>>::type());
  return rows_function_of<T, 1>(rows, typename MakeIndices<kMaxRows<1>>::type());
}

template <class T, int N, bool Sums, int... M>
OuterBlock<T> outer_function_of(index rows, Indices<M...>) {
  static constexpr typename OuterBlock<T>::Loop table[] = {outer_block<T, M + 1, N, Sums>...};
  return {table[rows - 1], rows, N};
}
template <class T, bool Sums>
OuterBlock<T> outer_function(index rows, index vectors) {
  constexpr int kTwo = kMaxRows<2> - Sums, kOne = kMaxRows<1> - Sums;
  if (vectors == 2) return outer_function_of<T, 2, Sums>(rows, typename MakeIndices<kTwo>::type());
  return outer_function_of<T, 1, Sums>(rows, typename MakeIndices<kOne>::type());
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
