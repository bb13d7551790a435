// The gradient of a direct convolution with respect to its input.
//
// From y[i, j, o] = Σ x[i*s + u - pad, ...] w[o, p, u, ...] follows, in one dimension,
//   dx[r, p] = Σ_{o,u : s divides r + pad - u} dy[(r + pad - u) / s, o] w[o, p, u].
// All r with the same remainder f = r mod s have the same taps u = u0, u0 + s, u0 + 2s..., with
// u0 = (f + pad) mod s. So dx is s*s interleaved images, each a stride-1 correlation of dy with every
// s-th tap, mirrored: one pass each. (Inserting zeros between the pixels of dy would need one pass
// only, but at stride 2 would multiply by zero three times out of four.)
#pragma once
#include "tensor/kernels/conv_forward.h"
#include "tensor/kernels/pointwise.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// One dimension of a pass: the outputs r = f, f + s, f + 2s...
struct Phase {
  index count;  // how many r < size
  index taps;
  index tap;    // the tap that comes first: the last of u0, u0 + s...
  index first;  // the pixel of dy that it reads for r = f
};
struct PhaseAxis {
  index size, kernel, stride, pad;
};
inline Phase phase_of(index f, const PhaseAxis& axis) {
  const index s = axis.stride, u0 = (f + axis.pad) % s;
  const index taps = u0 < axis.kernel ? div_up(axis.kernel - u0, s) : 0;
  const index last = u0 + (taps - 1) * s;
  // r = f + q*s under tap `last` reads dy at q + (f + pad - last) / s; the division is exact.
  return {f < axis.size ? div_up(axis.size - f, s) : 0, taps, last,
          taps > 0 ? div_floor(f + axis.pad - last, s) : 0};
}

// The pass of rows fr, fr + s, ... and columns fc, fc + s, ...
inline Pass input_gradient_pass(const Conv& conv, index fr, index fc) {
  const index s = conv.stride;
  const Phase r = phase_of(fr, {conv.h, conv.kh, s, conv.pad_top});
  const Phase c = phase_of(fc, {conv.w, conv.kw, s, conv.pad_left});
  const bool empty = r.taps == 0 || c.taps == 0;  // no tap: dx = 0 there
  return {.rows = r.count,
          .cols = c.count,
          .first_row = r.first,
          .first_col = c.first,
          .taps_r = empty ? 0 : r.taps,
          .taps_c = empty ? 0 : c.taps,
          .w_begin = r.tap * conv.kw + c.tap,
          .w_row = -s * conv.kw,
          .w_col = -s,
          .out_begin = (fr * conv.w + fc) * conv.c,
          .out_row = s * conv.w * conv.c,
          .out_col = s * conv.c};
}

template <class T>
void direct_input_gradient(const Conv& conv, const T* dy, const T* w, T* dx) {
  const index s = conv.stride, taps = conv.kh * conv.kw;
  const Scratch<Pass> passes(s * s);
  for (index fr = 0; fr < s; ++fr) {
    for (index fc = 0; fc < s; ++fc) passes[fr * s + fc] = input_gradient_pass(conv, fr, fc);
  }
  const Correlation backward{.n = conv.n,
                             .h = conv.oh,
                             .w = conv.ow,
                             .c = conv.k,
                             .k = conv.c,
                             .out_image = conv.h * conv.w * conv.c,
                             .stride = 1,
                             .w_out = taps,
                             .w_in = conv.c * taps,
                             .passes = passes.get(),
                             .count = s * s};
  correlate(backward, dy, w, static_cast<const T*>(nullptr), dx);
}

// dx + add of a pointwise convolution: one product for each array of channels.
template <class T>
void pointwise_input_gradient(const Conv& conv, const T* dy, const T* w, const Image<const T>& add,
                              const Image<T>& dx) {
  const index pixels = conv.n * conv.h * conv.w;
  dx.for_arrays({0, conv.c}, [&](Range segment) {
    const index channels = segment.size();
    T* const to = dx.at(0, segment.begin);
    const T* summand = add.at(0, segment.begin);
    if (summand && summand != to)
      copy_columns(pixels, Columns<T>{.cols = channels,
                                      .from = summand,
                                      .from_step = channels,
                                      .to = to,
                                      .to_step = channels});
    const GemmShape g{.m = pixels,
                      .n = channels,
                      .k = conv.k,
                      .accumulate = summand != nullptr,
                      .lda = conv.k,
                      .ldb = conv.c,
                      .ldc = channels};
    gemm_rows(g, GemmRows<T>{dy}, w + segment.begin, static_cast<const T*>(nullptr), to);
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
