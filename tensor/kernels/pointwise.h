// Kernels that pass over memory once or twice: SiLU, softmax, sums of rows.
#pragma once
#include "tensor/kernels/simd_math.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

inline constexpr index kGrain = 16384;  // numbers per task: long against the cost of handing it out

template <class T>
void silu_forward(index n, const T* x, T* y) {
  parallel_ranges(n, kGrain, [&](index begin, index end) {
    for_vectors<T>(end - begin, [&](index i, auto extent) {
      const Vec<T> v = load(x + begin + i, extent);
      store<T>(y + begin + i, silu<T>(v), extent);
    });
  });
}

template <class T>
void silu_backward(index n, const T* x, const T* dy, T* dx) {
  parallel_ranges(n, kGrain, [&](index begin, index end) {
    for_vectors<T>(end - begin, [&](index i, auto extent) {
      const Vec<T> slope = silu_and_slope<T>(load(x + begin + i, extent)).slope;
      store<T>(dx + begin + i, load(dy + begin + i, extent) * slope, extent);
    });
  });
}

template <class T>
void copy_rows(index rows, index cols, const T* from, index from_step, T* to, index to_step) {
  if (cols <= 0) return;
  const bool streamed = streams(to, cols, rows * cols) && whole_lines(to, to_step);
  parallel_ranges(rows, 1 + kGrain / cols, [&](index begin, index end) {
    for (index r = begin; r < end; ++r) {
      const T* f = from + r * from_step;
      T* t = to + r * to_step;
      if (streamed) {
        for (index j = 0; j < cols; j += kLanes<T>) stream(t + j, load(f + j));
      } else {
        for_vectors<T>(cols,
                       [&](index j, auto extent) { store<T>(t + j, load(f + j, extent), extent); });
      }
    }
    if (streamed) finish_streams();
  });
}

// Σ of term(i, extent) over the vectors of [0, n), then over lanes. Lanes that do not exist must be
// 0.
template <class T, class Term>
[[gnu::always_inline]] inline T sum_vectors(index n, Term&& term) {
  constexpr index kL = kLanes<T>;
  Vec<T> sum = sum_terms<Vec<T>>(n / kL, [&](index i) { return term(i * kL, Full{}); });
  if (n % kL != 0) sum += term(n / kL * kL, Some{static_cast<int>(n % kL)});
  return lane_sum<T>(sum);
}

template <class T>
void softmax_forward(index rows, index cols, const T* x, T* y) {
  if (cols <= 0) return;
  parallel_ranges(rows, larger(1, kGrain / cols), [&](index begin, index end) {
    for (index r = begin; r < end; ++r) {
      const T* in = x + r * cols;
      T* out = y + r * cols;
      Vec<T> tops = splat(in[0]);
      for_vectors<T>(cols, [&](index i, auto extent) {
        tops = max(fill_rest(load(in + i, extent), extent, in[0]), tops);
      });
      const T top = lane_max<T>(tops);
      const T sum = sum_vectors<T>(cols, [&](index i, auto extent) {
        const Vec<T> e = exp(load(in + i, extent) - top);
        store<T>(out + i, e, extent);
        return fill_rest(e, extent, T{0});
      });
      const T scale = T{1} / sum;
      for_vectors<T>(cols, [&](index i, auto extent) {
        store<T>(out + i, load(out + i, extent) * scale, extent);
      });
    }
  });
}

// y_i = e_i / Σ e, so ∂y_j/∂x_i = y_j (δ_ij - y_i) and dx_i = y_i (dy_i - Σ_j y_j dy_j).
template <class T>
void softmax_backward(index rows, index cols, const T* y, const T* dy, T* dx) {
  if (cols <= 0) return;
  parallel_ranges(rows, larger(1, kGrain / cols), [&](index begin, index end) {
    for (index r = begin * cols; r < end * cols; r += cols) {
      const T dot = sum_vectors<T>(cols, [&](index i, auto extent) {
        return load(y + r + i, extent) * load(dy + r + i, extent);
      });
      for_vectors<T>(cols, [&](index i, auto extent) {
        store<T>(dx + r + i, load(y + r + i, extent) * (load(dy + r + i, extent) - dot), extent);
      });
    }
  });
}

// out[cols] = Σ_rows x[rows, cols]. Chunks of rows are added up side by side, then in order. Narrow
// rows are read several at a time, [rows/f, cols*f], to fill the lanes; the f sums join at the end.
template <class T>
void sum_rows(index rows, index cols, const T* x, T* out) {
  if (cols <= 0) return;
  const index fold = cols < kLanes<T> ? kLanes<T> : 1;
  const index wide = cols * fold, wide_rows = rows / fold;
  const index chunks = clamp_to(wide_rows * wide / kGrain, 1, kTasks);
  const Scratch<T> parts(chunks * wide);
  parallel_for(chunks, [&](index chunk) {
    const Range r = part_of(wide_rows, chunks, chunk);
    for_vectors<T>(wide, [&](index i, auto extent) {
      const Vec<T> sum = sum_terms<Vec<T>>(
          r.size(), [&](index row) { return load(x + (r.begin + row) * wide + i, extent); });
      store<T>(parts.get() + chunk * wide + i, sum, extent);
    });
  });
  for (index i = 0; i < cols; ++i) {
    T sum = 0;
    for (index part = 0; part < chunks * fold; ++part) sum += parts[part * cols + i];
    for (index row = wide_rows * fold; row < rows; ++row) sum += x[row * cols + i];
    out[i] = sum;
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
