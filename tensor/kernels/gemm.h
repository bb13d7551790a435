// Matrix products. A row-major A is copied band by band into tiles ("an image of one row"), or read in
// place if its rows are short; a transposed A is always read in place. B is packed once into panels, or
// read in place if its rows are whole vectors.
#pragma once
#include "tensor/kernels/tile.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// A product without its operands: Gemm's sizes and flags, distances between rows filled in.
struct GemmShape {
  index m, n, k;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  index lda, ldb, ldc;
};

// op(B) [k, n] into panels [panel][k][lanes], with zeros in the lanes after column n.
template <class T>
void pack_panels(const T* b, index ldb, bool transposed, index k, index n, T* packed) {
  constexpr index kSlab = 128;  // rows per task
  const Panels<T> panels{n};
  const index slabs = div_up(k, kSlab);
  parallel_for(panels.count() * slabs, [&](index task) {
    const index p = task / slabs, begin = task % slabs * kSlab, end = smaller(begin + kSlab, k);
    const index width = panels.width(p), columns = panels.lanes(p), col = p * panels.kWidth;
    T* to = packed + panels.offset(p, k) + begin * width;
    for (index i = begin; i < end; ++i, to += width) {
      if (transposed) {
        for (index j = 0; j < columns; ++j) to[j] = b[(col + j) * ldb + i];
        for (index j = columns; j < width; ++j) to[j] = 0;
      } else {
        for_vectors<T>(columns, [&](index j, auto lanes) {
          store<T>(to + j, load(b + i * ldb + col + j, lanes));
        });
      }
    }
  });
}

// ---- A row-major

// A, whose last skip_k columns, if any, are in an array of their own, [m, skip_k].
template <class T>
struct GemmRows {
  const T* a;
  const T* skip = nullptr;
  index skip_k = 0;

  // f(columns, where they begin, lda) for each array.
  template <class F>
  [[gnu::always_inline]] void for_arrays(const GemmShape& g, F&& f) const {
    const index main_k = g.k - skip_k;
    if (main_k > 0 || skip_k == 0) f(Range{0, main_k}, a, g.lda);
    if (skip_k > 0) f(Range{main_k, g.k}, skip, skip_k);
  }
};

// C = A B + bias (or + C), with B packed; by rows_block, each row of A read where it lies. A task
// makes some rows of C.
template <class T>
void gemm_rows_in_place(const GemmShape& g, const GemmRows<T>& rows_of_a, const T* packed,
                        const T* bias, T* c) {
  const Panels<T> panels{g.n};
  const index ranges = smaller(div_up(g.m, max_rows(2)), 2 * kTasks);
  const bool streamed = !g.accumulate && streams(c, g.n, g.m * g.n) && g.ldc == g.n;
  parallel_for(ranges, [&](index task) {
    const Range rows = part_of(g.m, ranges, task);
    for_row_blocks(rows.size(), 2, [&](index row, index count) {
      for (index p = 0; p < panels.count(); ++p) {
        const index col = p * panels.kWidth, begin = rows.begin + row;
        T* out = c + begin * g.ldc + col;
        Output<T> o{.out = out,
                    .stride = g.ldc,
                    .lanes = panels.lanes(p),
                    .init = g.accumulate ? out
                            : bias       ? bias + col
                                         : nullptr,
                    .init_stride = g.accumulate ? g.ldc : 0};
        rows_of_a.for_arrays(g, [&](Range segment, const T* from, index lda) {
          o.streamed = streamed && segment.end == g.k;
          const T* a = from + begin * lda;
          // Every panel prefetches its share of the next block's rows.
          const index bytes = count * lda * static_cast<index>(sizeof(T));
          const index step = div_up(bytes, larger(1, panels.count() * segment.size()));
          const bool more = begin + 2 * count <= g.m;
          o.prefetch =
              reinterpret_cast<const char*>(a) + (more ? bytes + p * step * segment.size() : 0);
          rows_function<T>(count, panels.vectors(p))(
              a, lda, segment.size(), more ? step : 0,
              packed + panels.offset(p, g.k) + segment.begin * panels.width(p), o);
          o.init = out;
          o.init_stride = g.ldc;
        });
      }
    });
    if (streamed) finish_streams();
  });
}

// Steps of k at a time in gemm_rows_tiled: panels of this depth stay in L2.
inline constexpr index kTiledDepth = 1024;

// The same by tile_block: a task makes some rows of some column panels, band by band. A band's part of
// A is copied to L1; B's panels pass it from L2, while the next band of A is prefetched.
template <class T>
void gemm_rows_tiled(const GemmShape& g, const GemmRows<T>& rows_of_a, const T* packed,
                     const T* bias, T* c) {
  const Panels<T> panels{g.n};
  const index depth = smaller(kTiledDepth, larger(g.k, 1));
  const index band = round_up(kCache.l1 / static_cast<index>(sizeof(T)) / depth + 1, max_rows(2));
  const index ranges = smaller(div_up(g.m, max_rows(2)), 2 * kTasks);
  const index groups = smaller(panels.count(), div_up(kTasks, ranges));
  parallel_for(ranges * groups, [&](index task) {
    const Range rows = part_of(g.m, ranges, task / groups);
    const Range group = part_of(panels.count(), groups, task % groups);
    const Scratch<T> tile(smaller(band, rows.size()) * round_up(depth, kBlock));
    const Scratch<Segment> segments(div_up(depth, kBlock));
    const auto slab = [&](const T* from, index lda, index k0, index steps) {
      for (index begin = rows.begin; begin < rows.end; begin += band) {
        const index height = smaller(band, rows.end - begin);
        const TileShape shape{
            .channels = steps, .stride = 1, .first_col = 0, .phases = 1, .width = height};
        fill_blocks(tile.get(), shape.block_step(), from + begin * lda, lda, height, steps);
        row_segments(shape, 0, 1, segments.get());
        const Reduction k{
            .rows = 1, .row_stride = 0, .segments = segments.get(), .count = shape.blocks()};
        for (index p = group.begin; p < group.end; ++p) {
          const T* panel = packed + panels.offset(p, g.k) + k0 * panels.width(p);
          for_row_blocks(height, panels.vectors(p), [&](index row, index count) {
            if (p == group.begin) {
              const index next = begin + band + row;
              for (index i = next; i < smaller(next + count, rows.end); ++i)
                prefetch(from + i * lda, steps);
            }
            const index col = p * panels.kWidth;
            T* out = c + (begin + row) * g.ldc + col;
            Output<T> o{.out = out,
                        .stride = g.ldc,
                        .lanes = panels.lanes(p),
                        .init = out,
                        .init_stride = g.ldc};
            if (k0 == 0 && !g.accumulate) {
              o.init = bias ? bias + col : nullptr;
              o.init_stride = 0;
            }
            tile_function<T>(count, panels.vectors(p))(tile.get() + row * kBlock, k, panel, o);
          });
        }
      }
    };
    rows_of_a.for_arrays(g, [&](Range segment, const T* from, index lda) {
      for (index k = segment.begin; k == segment.begin || k < segment.end; k += kTiledDepth)
        slab(from + k - segment.begin, lda, k, smaller(kTiledDepth, segment.end - k));
    });
  });
}

// C = A op(B) + bias (or + C).
template <class T>
void gemm_rows(const GemmShape& g, const GemmRows<T>& a, const T* b, const T* bias, T* c) {
  const Panels<T> panels{g.n};
  const Scratch<T> packed(panels.size(g.k));
  pack_panels(b, g.ldb, g.transpose_b, g.k, g.n, packed.get());
  const auto conflicts = [](index lda) {
    return has_set_conflicts(lda * static_cast<index>(sizeof(T)));
  };
  const bool in_place = g.k <= 512 && !conflicts(g.lda) && (a.skip_k == 0 || !conflicts(a.skip_k));
  if (in_place) {
    gemm_rows_in_place(g, a, packed.get(), bias, c);
  } else {
    gemm_rows_tiled(g, a, packed.get(), bias, c);
  }
}

// ---- A transposed

// The common arguments of gemm_columns' tasks. k is split into `splits` ranges, each with a partial C.
template <class T>
struct GemmColumns {
  const GemmShape& g;
  const T *a, *b;   // as stored
  const T* packed;  // panels of B, or null: B is read in place
  T *c, *partials;  // partials [splits, m, n], if splits > 1
  T* column_sums;   // null, or partial sums of A's columns, [splits, m]
  index splits;
};

// Some rows and column panels of one partial C.
template <class T>
void gemm_columns_task(const GemmColumns<T>& job, index split, Range band, Range group) {
  // Few steps of k at a time: rows are often 64 or 128 elements apart and share few sets of L1. (The
  // smaller register blocks read them more often.)
  constexpr index kDepth = kRegisters == 32 ? 128 : 64;
  const GemmShape& g = job.g;
  const Panels<T> panels{g.n};
  const Range k_range = part_of(g.k, job.splits, split);
  const bool in_place = job.packed == nullptr, add = job.splits == 1 && g.accumulate;
  T* const to = job.splits > 1 ? job.partials + split * g.m * g.n : job.c;
  const index to_stride = job.splits > 1 ? g.n : g.ldc;
  for (index k0 = k_range.begin; k0 == k_range.begin || k0 < k_range.end; k0 += kDepth) {
    const index steps = smaller(kDepth, k_range.end - k0);
    const index next_steps = smaller(kDepth, k_range.end - k0 - steps);
    PrefetchQueue queue;
    queue.add(job.a + (k0 + steps) * g.lda, next_steps * g.lda);
    if (in_place) queue.add(job.b + (k0 + steps) * g.ldb, next_steps * g.ldb);
    for (index p = group.begin; p < group.end; ++p) {
      const index col = p * panels.kWidth, width = panels.width(p);
      const T* b =
          in_place ? job.b + k0 * g.ldb + col : job.packed + panels.offset(p, g.k) + k0 * width;
      const Walk walk = straight(steps, g.lda, in_place ? g.ldb : width);
      for_row_blocks(band.size(), panels.vectors(p), [&](index row, index count) {
        T* out = to + (band.begin + row) * to_stride + col;
        const bool fresh = k0 == k_range.begin && !add;
        const Output<T> o{.out = out,
                          .stride = to_stride,
                          .lanes = panels.lanes(p),
                          .init = fresh ? nullptr : out,
                          .init_stride = to_stride,
                          .prefetch = queue.next(steps)};
        outer_function<T>(count, panels.vectors(p))(job.a + k0 * g.lda + band.begin + row, b, walk,
                                                    o);
      });
    }
    if (!job.column_sums || group.begin > 0) continue;
    T* const column_sums = job.column_sums + split * g.m + band.begin;
    for_vectors<T>(band.size(), [&](index i, auto lanes) {
      const T* column = job.a + k0 * g.lda + band.begin + i;
      const Vec<T> sum =
          sum_terms<Vec<T>>(steps, [&](index row) { return load(column + row * g.lda, lanes); });
      store<T>(column_sums + i, k0 == k_range.begin ? sum : load(column_sums + i, lanes) + sum,
               lanes);
    });
  }
}

// c (+)= Σ partials, in order.
template <class T>
void add_gemm_partials(const GemmShape& g, index splits, const T* partials, T* c) {
  parallel_ranges(g.m, div_up(g.m, kTasks), [&](index begin, index end) {
    for (index i = begin; i < end; ++i) {
      for_vectors<T>(g.n, [&](index j, auto lanes) {
        Vec<T> sum = g.accumulate ? load(c + i * g.ldc + j, lanes) : Vec<T>{};
        for (index split = 0; split < splits; ++split)
          sum += load(partials + (split * g.m + i) * g.n + j, lanes);
        store<T>(c + i * g.ldc + j, sum, lanes);
      });
    }
  });
}

// C = Aᵀ op(B) (+ C), A stored [k, m]: the shape of weight gradients, in which m and n are channels
// and k is every pixel of a batch. If C alone is too small to make enough tasks, k is split as well
// (split-K), and the partial sums are added up in order. `sums`, unless null, becomes the sums of A's
// columns, taken while A is in the cache.
template <class T>
void gemm_columns(const GemmShape& g, const T* a, const T* b, T* c, T* sums) {
  const Panels<T> panels{g.n};
  const bool in_place = !g.transpose_b && g.n % kLanes<T> == 0;
  const Scratch<T> packed(in_place ? 0 : panels.size(g.k));
  if (!in_place) pack_panels(b, g.ldb, g.transpose_b, g.k, g.n, packed.get());

  const index bands = div_up(g.m, 8 * max_rows(2)), groups = div_up(panels.count(), 4);
  const index memory =
      larger(1, kCache.gemm_partials() / static_cast<index>(sizeof(T)) / (g.m * g.n));
  const index splits =
      larger(1, smaller(smaller(div_up(kTasks, bands * groups), g.k / 512), memory));
  const Scratch<T> partials(splits > 1 ? splits * g.m * g.n : 0);
  const Scratch<T> column_sums(sums ? splits * g.m : 0);
  const GemmColumns<T> job{.g = g,
                           .a = a,
                           .b = b,
                           .packed = in_place ? nullptr : packed.get(),
                           .c = c,
                           .partials = partials.get(),
                           .column_sums = sums ? column_sums.get() : nullptr,
                           .splits = splits};
  parallel_for(splits * bands * groups, [&](index task) {
    gemm_columns_task(job, task / (bands * groups), part_of(g.m, bands, task / groups % bands),
                      part_of(panels.count(), groups, task % groups));
  });
  for (index i = 0; sums && i < g.m; ++i) {
    sums[i] = 0;
    for (index split = 0; split < splits; ++split) sums[i] += column_sums[split * g.m + i];
  }
  if (splits > 1) add_gemm_partials(g, splits, partials.get(), c);
}

template <class T>
void gemm(const Gemm<T>& g) {
  if (g.m <= 0 || g.n <= 0) return;
  // A sum of nothing reads nothing, but computes addresses, which must not be null.
  const T* const a = g.k > 0 ? g.a : g.c;
  const T* const b = g.k > 0 ? g.b : g.c;
  const GemmShape shape{.m = g.m,
                        .n = g.n,
                        .k = g.k,
                        .transpose_a = g.transpose_a,
                        .transpose_b = g.transpose_b,
                        .accumulate = g.accumulate,
                        .lda = g.lda           ? g.lda
                               : g.transpose_a ? g.m
                                               : g.k,
                        .ldb = g.ldb           ? g.ldb
                               : g.transpose_b ? g.k
                                               : g.n,
                        .ldc = g.ldc ? g.ldc : g.n};
  if (g.transpose_a) {
    gemm_columns(shape, a, b, g.c, g.sums);
  } else {
    gemm_rows(shape, GemmRows<T>{a}, b, g.bias, g.c);
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
