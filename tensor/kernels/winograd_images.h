// How Winograd's tiles see images: pixel by pixel, or, where a convolution reads doubled pixels, in
// 2x2 blocks.
//
// Of a doubled image, a 3x3 filter sees 2x2 pixels at most: with outputs (rows, say) 2i - 1 and 2i
// as block i, and x the image before doubling,
//     y[2i - 1] = (w0 + w1) x[i - 1] + w2 x[i],   y[2i] = w0 x[i - 1] + (w1 + w2) x[i].
// So blocks are a convolution of x by 2x2 taps with four times the channels ("sub-pixel
// convolution", Shi et al. 2016): 16 multiplications instead of 36, by F(5x5, 2x2) 5.76 instead of
// F(4x4, 3x3)'s 9. Block 0 and the last one reach over the edge of y.
#pragma once
#include "tensor/kernels/conv_input.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// The pixels of a stored image that one tile covers, for one column of its channels: (row, col) +
// scale (i, j) for i in rows, j in cols.
struct TilePixels {
  index row, col, scale;
  Range rows, cols;

  bool has(index i, index j) const {
    return rows.begin <= i && i < rows.end && cols.begin <= j && j < cols.end;
  }
  // All of a tile of so many rows and columns.
  bool whole(index tile_rows, index tile_cols) const {
    return has(0, 0) && rows.end == tile_rows && cols.end == tile_cols;
  }
};

struct TiledImage {
  index rows, cols, channels;  // as it is stored
  // Tiles see 2x2 blocks, their pixels' channels one after the other, each filled up to whole
  // vectors.
  bool blocks = false;

  index size() const { return rows * cols * channels; }
  // Which pixel of its block a column belongs to, 2 (row) + (column).
  template <class T>
  index phase(index column) const {
    const index padded = round_up(channels, kLanes<T>);
    return !blocks ? 0 : (column >= padded) + (column >= 2 * padded) + (column >= 3 * padded);
  }
  // f(column, stored channel, lanes that exist) for each vector of the columns, or each N of them.
  template <class T, int N = 1, class F>
  [[gnu::always_inline]] void for_vectors(Range columns, F&& f) const {
    for (index o = columns.begin; o < columns.end; o += N * kLanes<T>) {
      const index channel = o - phase<T>(o) * round_up(channels, kLanes<T>);
      f(o, channel, Some{static_cast<int>(smaller(channels - channel, kLanes<T>))});
    }
  }
  // Of a tile of tile_rows x tile_cols pixels, or blocks, from (row, col) on.
  template <class T>
  [[gnu::always_inline]] TilePixels pixels(index row, index col, index tile_rows, index tile_cols,
                                           index column) const {
    if (!blocks) {
      return {
          row, col, 1, {0, smaller(tile_rows, rows - row)}, {0, smaller(tile_cols, cols - col)}};
    }
    const index of_block = phase<T>(column);
    const index r = 2 * row - 1 + of_block / 2, c = 2 * col - 1 + of_block % 2;
    return {r,
            c,
            2,
            {r < 0, smaller(tile_rows, div_up(rows - r, 2))},
            {c < 0, smaller(tile_cols, div_up(cols - c, 2))}};
  }
};

// Blocks in `rows` and `cols` of an image: to[row][col][step channels], zeros outside it.
template <class T>
void read_blocks(const TiledImage& grid, const T* image, Range rows, Range cols, T* to,
                 index step) {
  const index padded = round_up(grid.channels, kLanes<T>);
  for (index r = rows.begin; r < rows.end; ++r) {
    for (index c = cols.begin; c < cols.end; ++c, to += step) {
      for (index phase = 0; phase < 4; ++phase) {
        const index row = 2 * r - 1 + phase / 2, col = 2 * c - 1 + phase % 2;
        T* const pixel = to + phase * padded;
        if (row < 0 || row >= grid.rows || col < 0 || col >= grid.cols) {
          zero(pixel, padded);
          continue;
        }
        const T* from = image + (row * grid.cols + col) * grid.channels;
        for_vectors<T>(grid.channels,
                       [&](index k, auto extent) { store<T>(pixel + k, load(from + k, extent)); });
      }
    }
  }
}

// The convolution that tiles compute, and how its output lies.
struct WinogradConv {
  Conv s;
  TiledImage out;
};
template <class T>
WinogradConv winograd_conv(const Conv& s, bool upsample) {
  if (!upsample) return {s, {s.oh, s.ow, s.k}};
  const index h = s.h / 2, w = s.w / 2;
  return {{s.n, h, w, s.c, h + 1, w + 1, 4 * round_up(s.k, kLanes<T>), 2, 2, 1, 1, 1},
          {s.oh, s.ow, s.k, true}};
}

// One dimension: the two taps of either output of a block, [output][tap], from three; its adjoint.
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

// The taps of the blocks, [2x2 outputs, k, c, 2, 2] with k filled up to whole vectors, from
// w [k, c, 3, 3].
template <class T>
void fold_taps(const Conv& s, const T* w, T* folded) {
  const index padded = round_up(s.k, kLanes<T>), pairs = s.k * s.c;
  for (index output = 0; output < 4; ++output)
    zero(folded + (output * padded * s.c + pairs) * 4, (padded * s.c - pairs) * 4);
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
          folded[((r / 2 * 2 + q / 2) * padded * s.c + i) * 4 + r % 2 * 2 + q % 2] = rows[r];
      }
    }
  });
}
// Its adjoint.
template <class T>
void unfold_taps(const Conv& s, const T* folded, T* w) {
  const index padded = round_up(s.k, kLanes<T>), pairs = s.k * s.c;
  parallel_ranges(pairs, div_up(pairs, kTasks), [&](index begin, index end) {
    for (index i = begin; i < end; ++i) {
      T rows[4][3];
      for (index q = 0; q < 4; ++q) {
        T both[4];
        for (index r = 0; r < 4; ++r)
          both[r] = folded[((r / 2 * 2 + q / 2) * padded * s.c + i) * 4 + r % 2 * 2 + q % 2];
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
