// Correlations (correlate.h) of one input channel, or of few output channels, in which most of a
// register block would be empty.
#pragma once
#include "tensor/kernels/correlate.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// ---- few output channels: the lanes are all taps of all outputs, z[pixel, (tap, o)] =
// Σ_p in[pixel, p] W(tap)[p, o], one product per pixel; then each output adds up its taps from the
// neighbouring pixels. Stride 1, one pass.

template <class T>
bool has_few_outputs(const Correlation& s) {
  const index taps = s.count == 1 && s.stride == 1 ? s.passes[0].taps() : 0;
  return s.c >= 8 && taps > 1 && 2 * div_up(taps * s.k, kLanes<T>) <= taps * div_up(s.k, kLanes<T>);
}

// The weights as panels [c, (tap, o)].
template <class T>
void pack_all_taps(const Correlation& s, const T* w, T* packed) {
  const Pass& pass = s.passes[0];
  const Panels<T> panels{pass.taps() * s.k};
  zero(packed, panels.size(s.c));
  for (index column = 0; column < panels.columns; ++column) {
    const index tap = column / s.k, p = column / panels.kWidth;
    const T* from = w + pass.w_begin + tap / pass.taps_c * pass.w_row +
                    tap % pass.taps_c * pass.w_col + column % s.k * s.w_out;
    T* to = packed + panels.offset(p, s.c) + column % panels.kWidth;
    for (index i = 0; i < s.c; ++i) to[i * panels.width(p)] = from[i * s.w_in];
  }
}

// Output rows of one image from z[row][pixel][(tap, o)], whose first row is input row z_row.
template <class T>
void add_taps(const Correlation& s, Range rows, const T* z, index z_row, const T* bias, T* out) {
  const Pass& pass = s.passes[0];
  const index columns = round_up(pass.taps() * s.k, kLanes<T>);
  for (index i = rows.begin; i < rows.end; ++i) {
    T* row = out + pass.out_begin + i * pass.out_row;
    for (index j = 0; j < pass.cols; ++j) {
      for (index o = 0; o < s.k; ++o) row[j * pass.out_col + o] = bias ? bias[o] : T{0};
    }
    for (index tap = 0; tap < pass.taps(); ++tap) {
      const index r = i + pass.first_row + tap / pass.taps_c;
      const index shift = pass.first_col + tap % pass.taps_c;
      if (r < 0 || r >= s.h) continue;
      const T* from = z + (r - z_row) * s.w * columns + tap * s.k;
      for (index j = larger(0, -shift); j < smaller(pass.cols, s.w - shift); ++j) {
        for (index o = 0; o < s.k; ++o)
          row[j * pass.out_col + o] += from[(j + shift) * columns + o];
      }
    }
  }
}

template <class T>
void correlate_few_outputs(const Correlation& s, const T* in, const T* w, const T* bias, T* out) {
  const Pass& pass = s.passes[0];
  const Panels<T> panels{pass.taps() * s.k};
  const index columns = round_up(panels.columns, kLanes<T>);
  const Scratch<T> packed(panels.size(s.c));
  pack_all_taps(s, w, packed.get());

  const TileShape shape{.channels = s.c, .stride = 1, .first_col = 0, .phases = 1, .width = s.w};
  const Scratch<Segment> segments(shape.blocks());
  row_segments(shape, 0, 1, segments.get());
  const Reduction channels{
      .rows = 1, .row_stride = 0, .segments = segments.get(), .count = shape.blocks()};
  const index row_bytes = s.w * columns * static_cast<index>(sizeof(T));
  const index bands = count_bands(pass.rows, kCache.task() / row_bytes, s.n);
  parallel_for(s.n * bands, [&](index task) {
    const index image = task / bands;
    const Range band = part_of(pass.rows, bands, task % bands);
    const index row_begin = clamp_to(band.begin + pass.first_row, 0, s.h);
    const index row_end = clamp_to(band.end - 1 + pass.first_row + pass.taps_r, row_begin, s.h);
    const Scratch<T> tile(shape.row_step()), z((row_end - row_begin) * s.w * columns);
    for (index r = row_begin; r < row_end; ++r) {
      fill_tile_row(shape, in + (image * s.h + r) * s.w * s.c, s.w, tile.get());
      for (index p = 0; p < panels.count(); ++p) {
        for_row_blocks(s.w, panels.vectors(p), [&](index j, index count) {
          tile_function<T>(count, panels.vectors(p))(
              tile.get() + j * kBlock, channels, packed.get() + panels.offset(p, s.c),
              Output<T>{.out = z.get() + ((r - row_begin) * s.w + j) * columns + p * panels.kWidth,
                        .stride = columns,
                        .lanes = panels.width(p)});
        });
      }
    }
    add_taps(s, band, z.get(), row_begin, bias, out + image * s.out_image);
  });
}

// ---- one input channel: a tap alone would be a segment of one step. Gathered, an output
// reads one segment of all taps, and the rows of the product overlap in memory. (With two channels there
// is no difference; from three on gathering costs more than it saves.) One pass.

inline bool has_one_input(const Correlation& s) {
  return s.c == 1 && s.count == 1 && s.passes[0].taps() > 1;
}

// The weights as panels [(v, u), k].
template <class T>
void pack_gathered_taps(const Correlation& s, const T* w, T* packed) {
  const Pass& pass = s.passes[0];
  const Panels<T> panels{s.k};
  zero(packed, panels.size(pass.taps()));
  for (index o = 0; o < s.k; ++o) {
    const index p = o / panels.kWidth;
    T* to = packed + panels.offset(p, pass.taps()) + o % panels.kWidth;
    for (index v = 0; v < pass.taps_c; ++v) {
      for (index u = 0; u < pass.taps_r; ++u, to += panels.width(p))
        *to = w[pass.w_begin + u * pass.w_row + v * pass.w_col + o * s.w_out];
    }
  }
}

template <class T>
void correlate_one_input(const Correlation& s, const T* in, const T* w, const T* bias, T* out) {
  const Pass& pass = s.passes[0];
  const index taps = pass.taps(), size = s.h * s.w, column = s.stride * pass.taps_r;
  const Conv conv{.n = s.n,
                  .h = s.h,
                  .w = s.w,
                  .c = 1,
                  .oh = pass.rows,
                  .ow = pass.cols,
                  .k = s.k,
                  .kh = pass.taps_r,
                  .kw = pass.taps_c,
                  .stride = s.stride,
                  .pad_top = -pass.first_row,
                  .pad_left = -pass.first_col};
  const index row_size = gathered_columns(conv) * pass.taps_r;
  const Panels<T> panels{s.k};
  const Scratch<T> packed(panels.size(taps));
  pack_gathered_taps(s, w, packed.get());
  const index row_bytes = row_size * static_cast<index>(sizeof(T));
  const index bands = count_bands(pass.rows, kCache.task() / row_bytes, s.n);
  const bool streamed = streams(out, s.k, s.n * s.out_image);
  parallel_for(s.n * bands, [&](index task) {
    const index image = task / bands;
    const Range band = part_of(pass.rows, bands, task % bands);
    const Scratch<T> gathered(band.size() * row_size);
    gather_columns(conv, in + image * size, band, gathered.get());
    for (index i = band.begin; i < band.end; ++i) {
      const T* row = gathered.get() + (i - band.begin) * row_size;
      T* to = out + image * s.out_image + pass.out_begin + i * pass.out_row;
      for_row_blocks(pass.cols, panels.vectors(0), [&](index j, index count) {
        for (index p = 0; p < panels.count(); ++p) {
          const index o = p * panels.kWidth;
          rows_function<T>(count, panels.vectors(p))(row + j * column, column, taps, 0,
                                                     packed.get() + panels.offset(p, taps),
                                                     Output<T>{.out = to + j * pass.out_col + o,
                                                               .stride = pass.out_col,
                                                               .lanes = panels.lanes(p),
                                                               .init = bias ? bias + o : nullptr,
                                                               .streamed = streamed,
                                                               .prefetch = row});
        }
      });
    }
    if (streamed) finish_streams();
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
