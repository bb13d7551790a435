// The direct convolution, forward: a matrix product if it is 1x1, else a correlation of one pass.
#pragma once
#include "tensor/kernels/correlate_thin.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/image.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template <class T>
void correlate(const Correlation& s, const T* in, const T* w, const T* bias, T* out) {
  if (has_few_outputs<T>(s)) return correlate_few_outputs(s, in, w, bias, out);
  if (has_one_input(s)) return correlate_one_input(s, in, w, bias, out);
  Correlator<T>(s, w).run(in, bias, out);
}

// Only a pointwise convolution may have skip channels.
template <class T>
void direct_forward(const Conv& conv, const Image<const T>& x, const T* w, const T* bias, T* y) {
  if (is_pointwise(conv)) {
    const GemmShape g{.m = conv.n * conv.h * conv.w,
                      .n = conv.k,
                      .k = conv.c,
                      .transpose_b = true,
                      .lda = x.main_channels(),
                      .ldb = conv.c,
                      .ldc = conv.k};
    return gemm_rows(g, {x.main, x.skip, x.skip_channels}, w, bias, y);
  }
  const index taps = conv.kh * conv.kw;
  const Pass pass{.rows = conv.oh,
                  .cols = conv.ow,
                  .first_row = -conv.pad_top,
                  .first_col = -conv.pad_left,
                  .taps_r = conv.kh,
                  .taps_c = conv.kw,
                  .w_begin = 0,
                  .w_row = conv.kw,
                  .w_col = 1,
                  .out_begin = 0,
                  .out_row = conv.ow * conv.k,
                  .out_col = conv.k};
  const Correlation forward{.n = conv.n,
                            .h = conv.h,
                            .w = conv.w,
                            .c = conv.c,
                            .k = conv.k,
                            .out_image = conv.oh * conv.ow * conv.k,
                            .stride = conv.stride,
                            .w_out = conv.c * taps,
                            .w_in = taps,
                            .passes = &pass,
                            .count = 1};
  correlate(forward, x.main, w, bias, y);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
