// Matrix products. A row-major A is copied, band by band, into tiles ("an image of one row"), a
// transposed A is walked as it lies; B is packed once into panels, or read in place where its rows
// already are whole vectors.
#pragma once
#include "tensor/kernels/tile.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Asks for `count` numbers to be fetched into the cache. The hardware guesses what comes next in a
// plain scan, but not in blocks.
template <class T>
inline void prefetch(const T* p, index count) {
  for (index i = 0; i < count; i += 64 / static_cast<index>(sizeof(T))) __builtin_prefetch(p + i);
}

// op(B) [k, n] into panels [panel][k][lanes], zeros in lanes that do not exist.
template <class T>
void pack_panels(const T* b, index ldb, bool transposed, index k, index n, T* packed) {
  constexpr index kSlab = 128;  // rows per task
  const Panels<T> panels{n};
  const index slabs = div_up(k, kSlab);
  parallel_for(panels.count() * slabs, [&](index task) {
    const index p = task / slabs, begin = task % slabs * kSlab, end = smaller(begin + kSlab, k);
    const index width = panels.width(p), lanes = panels.lanes(p), col = p * panels.kWidth;
    T* to = packed + panels.offset(p, k) + begin * width;
    for (index i = begin; i < end; ++i, to += width) {
      if (transposed) {
        for (index j = 0; j < lanes; ++j) to[j] = b[(col + j) * ldb + i];
        for (index j = lanes; j < width; ++j) to[j] = 0;
      } else {
        for_vectors<T>(lanes, [&](index j, auto extent) {
          store<T>(to + j, load(b + i * ldb + col + j, extent));
        });
      }
    }
  });
}

// C = A op(B) + bias (or + C), A row-major; its last beside_k columns, if any, lie in an array of
// their own, [m, beside_k]. Short rows are read as they lie. Long ones are copied:
// a task makes a range of rows of some column panels, band by band; a band's part of A is copied
// into the first-level cache, B's panels stream past it from the second, and while that is computed
// the next band of A is fetched from memory.
template <class T>
void gemm_rows(const Gemm& g, const T* a, const T* b, const T* bias, T* c,
               const T* beside = nullptr, index beside_k = 0) {
  constexpr index kDepth =
      1024;  // steps of k at a time: the panels of that depth stay in the cache
  constexpr index kBandBytes = 32 * 1024;
  const Panels<T> panels{g.n};
  const Scratch<T> packed(panels.size(g.k));
  pack_panels(b, g.ldb, g.transpose_b, g.k, g.n, packed.get());

  const index own_k = g.k - beside_k;
  // f(columns, where they begin, lda) for each array that A lies in.
  const auto parts = [&](auto&& f) {
    if (own_k > 0 || beside_k == 0) f(Range{0, own_k}, a, g.lda);
    if (beside_k > 0) f(Range{own_k, g.k}, beside, beside_k);
  };
  const auto crowded = [](index lda) { return lda * static_cast<index>(sizeof(T)) % 4096 == 0; };
  // (Rows a multiple of 4 KiB apart would crowd into one set of the first-level cache.)
  if (g.k <= 512 && !crowded(g.lda) && (beside_k == 0 || !crowded(beside_k))) {
    const index ranges = smaller(div_up(g.m, max_rows(2)), 2 * kTasks);
    const bool streamed = !g.accumulate && streams(c, g.n, g.m * g.n) && g.ldc == g.n;
    parallel_for(ranges, [&](index task) {
      const Range rows = part_of(g.m, ranges, task);
      for_row_blocks(rows.size(), 2, [&](index row, index count) {
        for (index p = 0; p < panels.count(); ++p) {
          const index col = p * panels.kWidth, begin = rows.begin + row;
          T* out = c + begin * g.ldc + col;
          const T* init = g.accumulate ? out : bias ? bias + col : nullptr;
          Output<T> o{out, g.ldc, panels.lanes(p), init, g.accumulate ? g.ldc : 0, false};
          parts([&](Range part, const T* from, index lda) {
            o.streamed = streamed && part.end == g.k;
            const T* rows_from = from + begin * lda;
            // Every panel fetches its share of the next block's rows.
            const index bytes = count * lda * static_cast<index>(sizeof(T));
            const index step = div_up(bytes, larger(1, panels.count() * part.size()));
            const bool more = begin + 2 * count <= g.m;
            o.ahead = reinterpret_cast<const char*>(rows_from) +
                      (more ? bytes + p * step * part.size() : 0);
            rows_function<T>(count, panels.vectors(p))(
                rows_from, lda, part.size(), more ? step : 0,
                packed.get() + panels.offset(p, g.k) + part.begin * panels.width(p), o);
            o.init = out;
            o.init_stride = g.ldc;
          });
        }
      });
      if (streamed) finish_streams();
    });
    return;
  }

  const index depth = smaller(kDepth, larger(g.k, 1));
  const index band = round_up(kBandBytes / static_cast<index>(sizeof(T)) / depth + 1, max_rows(2));
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
        const TileShape shape{steps, 1, 0, 1, height};
        fill_blocks(tile.get(), shape.block_step(), from + begin * lda, lda, height, steps);
        row_segments(shape, 0, 1, segments.get());
        const Depth k{1, 0, segments.get(), shape.blocks()};
        for (index p = group.begin; p < group.end; ++p) {
          const T* panel = packed.get() + panels.offset(p, g.k) + k0 * panels.width(p);
          for_row_blocks(height, panels.vectors(p), [&](index row, index count) {
            if (p == group.begin) {
              const index next = begin + band + row;
              for (index i = next; i < smaller(next + count, rows.end); ++i)
                prefetch(from + i * lda, steps);
            }
            const index col = p * panels.kWidth;
            T* out = c + (begin + row) * g.ldc + col;
            Output<T> o{out, g.ldc, panels.lanes(p), out, g.ldc};
            if (k0 == 0 && !g.accumulate) {
              o.init = bias ? bias + col : nullptr;
              o.init_stride = 0;
            }
            tile_function<T>(count, panels.vectors(p))(tile.get() + row * kBlock, k, panel, o);
          });
        }
      }
    };
    parts([&](Range part, const T* from, index lda) {
      for (index k = part.begin; k == part.begin || k < part.end; k += kDepth)
        slab(from + k - part.begin, lda, k, smaller(kDepth, part.end - k));
    });
  });
}

// C = Aᵀ op(B) (+ C), A stored [k, m]. This is the shape of weight gradients: m and n are channel
// counts, k is every pixel of a batch. Where C alone is too small to give enough tasks, k is cut
// into chunks as well, whose sums are added up in order at the end. `sums`, unless null, becomes
// the sums of A's columns, taken while a chunk's part of A is in the cache.
template <class T>
void gemm_columns(const Gemm& g, const T* a, const T* b, T* c, T* sums) {
  // Few steps of k at a time: rows are often 64 or 128 numbers apart, which crowds them into a few
  // sets of the first-level cache. (The smaller register blocks read them more often.)
  constexpr index kDepth = kRegisters == 32 ? 128 : 64;
  const Panels<T> panels{g.n};
  const bool in_place = !g.transpose_b && g.n % kLanes<T> == 0;
  const Scratch<T> packed(in_place ? 0 : panels.size(g.k));
  if (!in_place) pack_panels(b, g.ldb, g.transpose_b, g.k, g.n, packed.get());

  const index bands = div_up(g.m, 8 * max_rows(2)), groups = div_up(panels.count(), 4);
  const index memory = larger(1, (8 << 20) / static_cast<index>(sizeof(T)) / (g.m * g.n));
  const index chunks =
      larger(1, smaller(smaller(div_up(kTasks, bands * groups), g.k / 512), memory));
  const Scratch<T> parts(chunks > 1 ? chunks * g.m * g.n : 0), sum_parts(sums ? chunks * g.m : 0);
  parallel_for(chunks * bands * groups, [&](index task) {
    const index chunk = task / (bands * groups);
    const Range k_range = part_of(g.k, chunks, chunk);
    const Range band = part_of(g.m, bands, task / groups % bands);
    const Range group = part_of(panels.count(), groups, task % groups);
    T* to = chunks > 1 ? parts.get() + chunk * g.m * g.n : c;
    const index to_stride = chunks > 1 ? g.n : g.ldc;
    const bool add = chunks == 1 && g.accumulate;
    for (index k0 = k_range.begin; k0 == k_range.begin || k0 < k_range.end; k0 += kDepth) {
      const index steps = smaller(kDepth, k_range.end - k0);
      const index later = smaller(kDepth, k_range.end - k0 - steps);
      ReadAhead ahead;
      ahead.add(a + (k0 + steps) * g.lda, later * g.lda);
      if (in_place) ahead.add(b + (k0 + steps) * g.ldb, later * g.ldb);
      for (index p = group.begin; p < group.end; ++p) {
        const index col = p * panels.kWidth, width = panels.width(p);
        const T* pb =
            in_place ? b + k0 * g.ldb + col : packed.get() + panels.offset(p, g.k) + k0 * width;
        const Walk k = straight(steps, g.lda, in_place ? g.ldb : width);
        for_row_blocks(band.size(), panels.vectors(p), [&](index row, index count) {
          T* out = to + (band.begin + row) * to_stride + col;
          const bool fresh = k0 == k_range.begin && !add;
          const Output<T> o{out,       to_stride, panels.lanes(p),  fresh ? nullptr : out,
                            to_stride, false,     ahead.next(steps)};
          outer_function<T>(count, panels.vectors(p))(a + k0 * g.lda + band.begin + row, pb, k, o);
        });
      }
      if (!sums || group.begin > 0) continue;
      T* const column_sums = sum_parts.get() + chunk * g.m + band.begin;
      for_vectors<T>(band.size(), [&](index i, auto extent) {
        const T* column = a + k0 * g.lda + band.begin + i;
        const Vec<T> sum =
            sum_terms<Vec<T>>(steps, [&](index row) { return load(column + row * g.lda, extent); });
        store<T>(column_sums + i, k0 == k_range.begin ? sum : load(column_sums + i, extent) + sum,
                 extent);
      });
    }
  });
  for (index i = 0; sums && i < g.m; ++i) {
    sums[i] = 0;
    for (index chunk = 0; chunk < chunks; ++chunk) sums[i] += sum_parts[chunk * g.m + i];
  }
  if (chunks == 1) return;
  parallel_ranges(g.m, div_up(g.m, kTasks), [&](index begin, index end) {
    for (index i = begin; i < end; ++i) {
      for_vectors<T>(g.n, [&](index j, auto extent) {
        Vec<T> sum = g.accumulate ? load(c + i * g.ldc + j, extent) : Vec<T>{};
        for (index chunk = 0; chunk < chunks; ++chunk)
          sum += load(parts.get() + (chunk * g.m + i) * g.n + j, extent);
        store<T>(c + i * g.ldc + j, sum, extent);
      });
    }
  });
}

template <class T>
void gemm(const Gemm& g, const T* a, const T* b, T* c, const T* bias, T* sums) {
  if (g.m <= 0 || g.n <= 0) return;
  if (g.transpose_a) {
    gemm_columns(g, a, b, c, sums);
  } else {
    gemm_rows(g, a, b, bias, c);
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
