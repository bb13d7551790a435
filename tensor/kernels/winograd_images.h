// How the tiles of Winograd's algorithm address images: by pixels, or, if the convolution's input is
// upsampled (nearest neighbour, 2x), by 2x2 blocks of pixels.
//
// A 3x3 filter on an upsampled image reads at most 2x2 different pixels. In one dimension, with
// outputs 2i - 1 and 2i as block i, and x the image before upsampling,
//     y[2i - 1] = (w0 + w1) x[i - 1] + w2 x[i],   y[2i] = w0 x[i - 1] + (w1 + w2) x[i].
// So blocks are a convolution of x by 2x2 taps with four times the output channels ("sub-pixel
// convolution", Shi et al. 2016): 16 multiplications instead of 36, by F(5x5, 2x2) 5.76 instead of
// F(4x4, 3x3)'s 9. The first and the last block reach over the edge of y.
#pragma once
#include "tensor/kernels/tile.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// The pixels of a stored image that one tile covers, for one column of the product: (row, col) +
// scale (i, j) for i in rows, j in cols.
struct TilePixels {
  index row, col, scale;
  Range rows, cols;

  bool has(index i, index j) const {
    return rows.begin <= i && i < rows.end && cols.begin <= j && j < cols.end;
  }
  // Whether a tile of so many rows and columns lies inside the image.
  bool whole(index tile_rows, index tile_cols) const {
    return has(0, 0) && rows.end == tile_rows && cols.end == tile_cols;
  }
};

// Elements from a pixel of a tile to the one below it and to the one on its right.
struct PixelSteps {
  index row, col;
};

struct TiledImage {
  index rows, cols, channels;  // as stored
  // Tiles address 2x2 blocks. The columns of the product are then the channels of the block's four
  // pixels one after the other, each padded to whole vectors.
  bool blocks = false;

  index size() const { return rows * cols * channels; }
  // The first element of an area's first pixel, which may lie outside.
  index at(index image, const TilePixels& area) const {
    return ((image * rows + area.row) * cols + area.col) * channels;
  }
  PixelSteps steps(const TilePixels& area) const {
    return {area.scale * cols * channels, area.scale * channels};
  }
  // Which pixel of its block a column belongs to, 2 (row) + (column).
  template <class T>
  index phase(index column) const {
    const index padded = round_up(channels, kLanes<T>);
    return !blocks ? 0 : (column >= padded) + (column >= 2 * padded) + (column >= 3 * padded);
  }
  // f(column, stored channel, Tail) for every `vectors` vectors of the columns.
  template <class T, class F>
  [[gnu::always_inline]] void for_vectors(Range columns, index vectors, F&& f) const {
    for (index o = columns.begin; o < columns.end; o += vectors * kLanes<T>) {
      const index channel = o - phase<T>(o) * round_up(channels, kLanes<T>);
      f(o, channel, Tail{static_cast<int>(smaller(channels - channel, kLanes<T>))});
    }
  }
  // The pixels of a tile of tile_rows x tile_cols pixels or blocks, from (row, col) on.
  template <class T>
  [[gnu::always_inline]] TilePixels pixels(index row, index col, index tile_rows, index tile_cols,
                                           index column) const {
    if (!blocks) {
      return {.row = row,
              .col = col,
              .scale = 1,
              .rows = {0, smaller(tile_rows, rows - row)},
              .cols = {0, smaller(tile_cols, cols - col)}};
    }
    const index of_block = phase<T>(column);
    const index r = 2 * row - 1 + of_block / 2, c = 2 * col - 1 + of_block % 2;
    return {.row = r,
            .col = c,
            .scale = 2,
            .rows = {r < 0, smaller(tile_rows, div_up(rows - r, 2))},
            .cols = {c < 0, smaller(tile_cols, div_up(cols - c, 2))}};
  }
};

// The convolution that tiles compute, and the layout of its output.
struct WinogradConv {
  Conv conv;
  TiledImage out;
};
template <class T>
WinogradConv winograd_conv(const Conv& conv, bool upsample) {
  if (!upsample) return {conv, {conv.oh, conv.ow, conv.k}};
  const index h = conv.h / 2, w = conv.w / 2;
  const Conv of_blocks{.n = conv.n,
                       .h = h,
                       .w = w,
                       .c = conv.c,
                       .oh = h + 1,
                       .ow = w + 1,
                       .k = 4 * round_up(conv.k, kLanes<T>),
                       .kh = 2,
                       .kw = 2,
                       .stride = 1,
                       .pad_top = 1,
                       .pad_left = 1};
  return {of_blocks, {.rows = conv.oh, .cols = conv.ow, .channels = conv.k, .blocks = true}};
}

// One dimension: two taps for each output of a block, [output][tap], from three; and the adjoint.
template <class T>
[[gnu::always_inline]] inline void fold(const T (&w)[3], T (&folded)[4]) {
  folded[0] = w[0] + w[1];
  folded[1] = w[2];
  folded[2] = w[0];
  folded[3] = w[1] + w[2];
}
template <class T>
[[gnu::always_inline]] inline void unfold(const T (&folded)[4], T (&w)[3]) {
  w[0] = folded[0] + folded[2];
  w[1] = folded[0] + folded[3];
  w[2] = folded[1] + folded[3];
}

// The taps of the blocks, [2x2 outputs, k, c, 2, 2] with k padded to whole vectors, from
// w [k, c, 3, 3]; and the adjoint.
template <class T>
void fold_taps(const Conv& conv, const T* w, T* folded) {
  const index padded = round_up(conv.k, kLanes<T>), pairs = conv.k * conv.c;
  for (index output = 0; output < 4; ++output)
    zero(folded + (output * padded * conv.c + pairs) * 4, (padded * conv.c - pairs) * 4);
  parallel_ranges(pairs, div_up(pairs, kTasks), [&](index begin, index end) {
    for (index i = begin; i < end; ++i) {
      T cols[3][4];  // of each row of taps
      for (index u = 0; u < 3; ++u) {
        const T* row = w + i * 9 + u * 3;
        fold<T>({row[0], row[1], row[2]}, cols[u]);
      }
      for (index q = 0; q < 4; ++q) {  // output and tap of the columns
        T rows[4];
        fold<T>({cols[0][q], cols[1][q], cols[2][q]}, rows);
        for (index r = 0; r < 4; ++r)
          folded[((r / 2 * 2 + q / 2) * padded * conv.c + i) * 4 + r % 2 * 2 + q % 2] = rows[r];
      }
    }
  });
}
template <class T>
void unfold_taps(const Conv& conv, const T* folded, T* w) {
  const index padded = round_up(conv.k, kLanes<T>), pairs = conv.k * conv.c;
  parallel_ranges(pairs, div_up(pairs, kTasks), [&](index begin, index end) {
    for (index i = begin; i < end; ++i) {
      T rows[4][3];
      for (index q = 0; q < 4; ++q) {
        T both[4];
        for (index r = 0; r < 4; ++r)
          both[r] = folded[((r / 2 * 2 + q / 2) * padded * conv.c + i) * 4 + r % 2 * 2 + q % 2];
        unfold<T>(both, rows[q]);
      }
      for (index u = 0; u < 3; ++u) {
        T cols[3];
        unfold<T>({rows[0][u], rows[1][u], rows[2][u], rows[3][u]}, cols);
        for (index v = 0; v < 3; ++v) w[i * 9 + u * 3 + v] = cols[v];
      }
    }
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
