// Properties of a convolution's shape that several algorithms use.
#pragma once
#include "tensor/kernels/tile.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// A 1x1 convolution of whole images is a matrix product of all pixels: [n*h*w, c] x [c, k].
inline bool is_pointwise(const Conv& conv) {
  return conv.kh == 1 && conv.kw == 1 && conv.stride == 1 && conv.pad_top == 0 &&
         conv.pad_left == 0 && conv.oh == conv.h && conv.ow == conv.w;
}

// The adjoint of a convolution of stride 1: a convolution of dy with the taps mirrored.
inline Conv adjoint_of(const Conv& conv) {
  return {.n = conv.n,
          .h = conv.oh,
          .w = conv.ow,
          .c = conv.k,
          .oh = conv.h,
          .ow = conv.w,
          .k = conv.c,
          .kh = conv.kh,
          .kw = conv.kw,
          .stride = 1,
          .pad_top = conv.kh - 1 - conv.pad_top,
          .pad_left = conv.kw - 1 - conv.pad_left};
}

// Bands of output rows in each image: small enough that `band_rows` of them fit the cache, and enough
// of them to make kTasks tasks.
inline index count_bands(index rows, index band_rows, index images) {
  return smaller(rows, larger(div_up(rows, larger(1, band_rows)), div_up(kTasks, images)));
}

// ---- columns of taps, gathered: the kh*c elements that a column of kh taps reads, contiguous. Those of
// the next column follow, so an output pixel reads one run of elements, [v][u][p].

// Columns of an image that a row of outputs reads, with padding.
inline index gathered_columns(const Conv& conv) { return (conv.ow - 1) * conv.stride + conv.kw; }

// What some output rows read, gathered: to[row][column][kh*c], zeros outside the image.
template <class T>
void gather_columns(const Conv& conv, const T* x, Range rows, T* to) {
  const index width = gathered_columns(conv), step = conv.kh * conv.c;
  const index begin = clamp_to(conv.pad_left, 0, width);
  const index end = clamp_to(conv.w + conv.pad_left, begin, width);
  for (index i = rows.begin; i < rows.end; ++i, to += width * step) {
    zero(to, begin * step);
    zero(to + end * step, (width - end) * step);
    const index top = i * conv.stride - conv.pad_top;
    if (conv.c == 1 && conv.kh == 3 && top >= 0 && top + 3 <= conv.h) {
      // The usual case in one loop, which compilers turn into shuffles.
      const T* from = x + top * conv.w - conv.pad_left;
      for (index j = begin; j < end; ++j) {
        for (index u = 0; u < 3; ++u) to[j * 3 + u] = from[u * conv.w + j];
      }
      continue;
    }
    for (index u = 0; u < conv.kh; ++u) {
      const index r = top + u, row = r * conv.w - conv.pad_left;
      for (index p = 0; p < conv.c; ++p) {
        T* const at = to + u * conv.c + p;
        if (r < 0 || r >= conv.h) {
          for (index j = begin; j < end; ++j) at[j * step] = 0;
        } else {
          for (index j = begin; j < end; ++j) at[j * step] = x[(row + j) * conv.c + p];
        }
      }
    }
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
