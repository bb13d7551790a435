// Kernels that pass over memory once or twice: SiLU, GELU, softmax, sums of rows.
#pragma once
#include "tensor/kernels/simd_math.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

inline constexpr index kGrain = 16384;  // elements per task: long against the cost of starting it

template <class T>
void silu_forward(index n, const T* x, T* y) {
  parallel_ranges(n, kGrain, [&](index begin, index end) {
    for_vectors<T>(end - begin, [&](index i, auto lanes) {
      const Vec<T> v = load(x + begin + i, lanes);
      store<T>(y + begin + i, silu<T>(v), lanes);
    });
  });
}

template <class T>
void silu_backward(index n, const T* x, const T* dy, T* dx) {
  parallel_ranges(n, kGrain, [&](index begin, index end) {
    for_vectors<T>(end - begin, [&](index i, auto lanes) {
      const Vec<T> slope = silu_and_slope<T>(load(x + begin + i, lanes)).slope;
      store<T>(dx + begin + i, load(dy + begin + i, lanes) * slope, lanes);
    });
  });
}

template <class T>
void gelu_tanh_forward(index n, const T* x, T* y) {
  parallel_ranges(n, kGrain, [&](index begin, index end) {
    for_vectors<T>(end - begin, [&](index i, auto lanes) {
      store<T>(y + begin + i, gelu_tanh_and_slope<T>(load(x + begin + i, lanes)).value, lanes);
    });
  });
}

template <class T>
void gelu_tanh_backward(index n, const T* x, const T* dy, T* dx) {
  parallel_ranges(n, kGrain, [&](index begin, index end) {
    for_vectors<T>(end - begin, [&](index i, auto lanes) {
      const Vec<T> slope = gelu_tanh_and_slope<T>(load(x + begin + i, lanes)).slope;
      store<T>(dx + begin + i, load(dy + begin + i, lanes) * slope, lanes);
    });
  });
}

// Rows of one part.
template <class T>
void copy_columns(index rows, const Columns<T>& part) {
  const index cols = part.cols;
  if (cols <= 0) return;
  const bool streamed = streams(part.to, cols, rows * cols) && whole_lines(part.to, part.to_step);
  parallel_ranges(rows, 1 + kGrain / cols, [&](index begin, index end) {
    for (index r = begin; r < end; ++r) {
      const T* const from = part.from ? part.from + r * part.from_step : nullptr;
      T* const to = part.to + r * part.to_step;
      if (!from) {
        std::fill_n(to, cols, T(0));
      } else if (streamed) {
        for (index j = 0; j < cols; j += kLanes<T>) stream(to + j, load(from + j));
      } else {
        for_vectors<T>(
            cols, [&](index j, auto lanes) { store<T>(to + j, load(from + j, lanes), lanes); });
      }
    }
    if (streamed) finish_streams();
  });
}

template <class T>
void copy_columns(index rows, std::span<const Columns<T>> parts) {
  for (const Columns<T>& part : parts) copy_columns(rows, part);
}

// Σ of term(i, lanes) over the vectors of [0, n), then over lanes. The lanes after the tail must be 0.
template <class T, class Term>
[[gnu::always_inline]] inline T sum_vectors(index n, Term&& term) {
  constexpr index kL = kLanes<T>;
  Vec<T> sum = sum_terms<Vec<T>>(n / kL, [&](index i) { return term(i * kL, AllLanes{}); });
  if (n % kL != 0) sum += term(n / kL * kL, Tail{static_cast<int>(n % kL)});
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
      for_vectors<T>(cols, [&](index i, auto lanes) {
        tops = max(fill_tail(load(in + i, lanes), lanes, in[0]), tops);
      });
      const T top = lane_max<T>(tops);
      const T sum = sum_vectors<T>(cols, [&](index i, auto lanes) {
        const Vec<T> e = exp(load(in + i, lanes) - top);
        store<T>(out + i, e, lanes);
        return fill_tail(e, lanes, T{0});
      });
      const T scale = T{1} / sum;
      for_vectors<T>(cols, [&](index i, auto lanes) {
        store<T>(out + i, load(out + i, lanes) * scale, lanes);
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
      const T dot = sum_vectors<T>(cols, [&](index i, auto lanes) {
        return load(y + r + i, lanes) * load(dy + r + i, lanes);
      });
      for_vectors<T>(cols, [&](index i, auto lanes) {
        store<T>(dx + r + i, load(y + r + i, lanes) * (load(dy + r + i, lanes) - dot), lanes);
      });
    }
  });
}

// out[cols] = Σ_rows x[rows, cols] of one matrix. The rows are split; the partial sums are added up in order. Narrow
// rows are read several at a time, [rows/f, cols*f], to fill the lanes; the f sums are added at the end.
template <class T>
void sum_rows(index rows, index cols, const T* x, T* out) {
  if (cols <= 0) return;
  const index fold = cols < kLanes<T> ? kLanes<T> : 1;
  const index wide = cols * fold, wide_rows = rows / fold;
  const index splits = clamp_to(wide_rows * wide / kGrain, 1, kTasks);
  const Scratch<T> partials(splits * wide);
  parallel_for(splits, [&](index split) {
    const Range r = part_of(wide_rows, splits, split);
    for_vectors<T>(wide, [&](index i, auto lanes) {
      const Vec<T> sum = sum_terms<Vec<T>>(
          r.size(), [&](index row) { return load(x + (r.begin + row) * wide + i, lanes); });
      store<T>(partials.get() + split * wide + i, sum, lanes);
    });
  });
  for (index i = 0; i < cols; ++i) {
    T sum = 0;
    for (index p = 0; p < splits * fold; ++p) sum += partials[p * cols + i];
    for (index row = wide_rows * fold; row < rows; ++row) sum += x[row * cols + i];
    out[i] = sum;
  }
}

template <class T>
void sum_rows(index outer, index rows, index cols, const T* x, T* out) {
  if (outer == 1) return sum_rows(rows, cols, x, out);
  parallel_for(outer, [=](index i) { sum_rows(rows, cols, x + i * rows * cols, out + i * cols); });
}

// Σ term(x[i]): partial sums over ranges of kGrain elements, added in their order. A task adds up several ranges at once,
// since each addition waits for the one before it in its range.
template <class T, class Term>
double sum_terms_in_order(index n, const T* x, Term term) {
  constexpr index kAtOnce = 4;
  const index parts = (n + kGrain - 1) / kGrain;
  const Scratch<double> partials(parts);
  parallel_ranges(n, kAtOnce * kGrain, [&](index begin, index end) {
    double sums[kAtOnce] = {};
    const T* const from = x + begin;
    if (end - begin == kAtOnce * kGrain) {
      for (index i = 0; i < kGrain; ++i)
        for (index k = 0; k < kAtOnce; ++k)
          sums[k] += term(static_cast<double>(from[k * kGrain + i]));
    } else {
      for (index i = 0; i < end - begin; ++i)
        sums[i / kGrain] += term(static_cast<double>(from[i]));
    }
    for (index k = 0; k < div_up(end - begin, kGrain); ++k) partials[begin / kGrain + k] = sums[k];
  });
  double total = 0;
  for (index i = 0; i < parts; ++i) total += partials[i];
  return total;
}

template <class T>
void sum(index n, const T* x, double* out) {
  *out = sum_terms_in_order(n, x, [](double v) { return v; });
}
template <class T>
void sum_of_squares(index n, const T* x, double* out) {
  *out = sum_terms_in_order(n, x, [](double v) { return v * v; });
}

// The rows of this family.
template <class T>
void fill(PointwiseKernels<T>& table) {
  table = {
      .silu_forward = silu_forward<T>,
      .silu_backward = silu_backward<T>,
      .gelu_tanh_forward = gelu_tanh_forward<T>,
      .gelu_tanh_backward = gelu_tanh_backward<T>,
      .softmax_forward = softmax_forward<T>,
      .softmax_backward = softmax_backward<T>,
      .copy_columns = copy_columns<T>,
      .sum_rows = sum_rows<T>,
      .sum = sum<T>,
      .sum_of_squares = sum_of_squares<T>,
  };
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
