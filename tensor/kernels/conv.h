// Convolution, forward and backward with respect to its input. Both are sums over taps of products
// of shifted images with small matrices; each is cut into passes that the same code runs:
//
//   out(i, j)[o] = bias[o] + Σ_{a,b,p} in(i*stride + first_row + a, j*stride + first_col + b)[p]
//                                      W(a, b)[p, o]
//
// Forward: one pass, W(a, b)[p, o] = w[o, p, a, b].
//
// Backward: from y[i, j, o] = Σ x[i*s + u - pad, ...] w[o, p, u, ...] follows, in one dimension,
//   dx[r, p] = Σ_{o,u : s divides r + pad - u} dy[(r + pad - u) / s, o] w[o, p, u].
// All r with the same remainder f = r mod s see the same taps u = u0, u0 + s, u0 + 2s..., with
// u0 = (f + pad) mod s. So dx falls into s*s interleaved images, each of which is a stride-1
// convolution of dy with every s-th tap, mirrored. (Writing zeros between the pixels of dy would
// need no such split, but at stride 2 would multiply by zero three times out of four.)
#pragma once
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/image.h"
#include "tensor/kernels/pointwise.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// The first tap of a row or column of taps, as seen from output 0, and how the output is spread.
struct Pass {
  index rows, cols;            // output pixels
  index first_row, first_col;  // input pixel of output (0, 0) under tap (0, 0)
  index taps_r, taps_c;
  index w_begin, w_row, w_col;        // weights of tap (a, b) at w + w_begin + a*w_row + b*w_col
  index out_begin, out_row, out_col;  // output (i, j) at out + out_begin + i*out_row + j*out_col
  // Found by correlate(): where the pass's packed weights and segments begin.
  index panels_begin, segments_begin;

  index taps() const { return taps_r * taps_c; }
};

struct Correlation {
  index n, h, w, c;    // images in
  index k, out_image;  // channels out, numbers per image out
  index stride;        // input pixels per output pixel
  index w_out, w_in;   // distance between output, input channels in the weights
  Pass* passes;
  index count;
};

// One slab of panel p: the weights of tap row a as [channel block][tap][channel][lane].
template <class T>
void pack_taps(const Correlation& s, const Pass& pass, index p, index a, const T* w, T* packed) {
  const Panels<T> panels{s.k};
  const index width = panels.width(p), lanes = panels.lanes(p), row_depth = pass.taps_c * s.c;
  T* to = packed + pass.panels_begin + panels.offset(p, pass.taps_r * row_depth) +
          a * row_depth * width;
  w += pass.w_begin + a * pass.w_row + p * panels.kWidth * s.w_out;
  for (index c0 = 0; c0 < s.c; c0 += kBlock) {
    for (index b = 0; b < pass.taps_c; ++b) {
      for (index i = c0; i < smaller(c0 + kBlock, s.c); ++i, to += width) {
        const T* from = w + b * pass.w_col + i * s.w_in;
        for (index j = 0; j < lanes; ++j) to[j] = from[j * s.w_out];
        for (index j = lanes; j < width; ++j) to[j] = 0;
      }
    }
  }
}

// Whether two rows of so many outputs fill register blocks better together: with 16 registers, 7
// are blocks of 4 and 3, which cannot keep the multiply-adds busy, or 3 + 3, 2 + 2 and 2 + 2 with
// the next row's. (A tenth of the time. From 12 on there is nothing in it; with 32 registers, 7
// fill a block.)
constexpr bool worth_pairing(index cols) {
  const index rest = cols % kMaxRows<2>;
  return kRegisters == 16 && cols < 2 * kMaxRows<2> && rest > 0 && rest <= kMaxPairs;
}

// Rows [rows.begin, rows.end) of one pass and one panel. `tile` begins with input row tile_row.
// Column blocks are the outer loop: one after the other, rows share two of three tile rows in the
// first-level cache, and the same micro-kernel.
template <class T>
void correlate_rows(const Correlation& s, const Pass& pass, Range rows, const T* tile,
                    index tile_row, Depth k, const T* panel, index vectors, ReadAhead& ahead,
                    Output<T> o) {
  const index tap_row = pass.taps_c * s.c * vectors * kLanes<T>;  // weights of one row of taps
  T* out = o.out;
  k.second = s.stride * k.row_stride;
  const bool pairs = vectors == 2 && rows.size() > 1 && worth_pairing(pass.cols);
  for_blocks_of(pairs ? kMaxPairs : max_rows(vectors), pass.cols, [&](index j, index count) {
    const TileFn<T> block = tile_function<T>(count, vectors);
    for (index i = rows.begin; i < rows.end; ++i) {
      // Only tap rows that meet the image: those above and below would add zeros.
      const index in = i * s.stride + pass.first_row;
      const index begin = clamp_to(-in, 0, pass.taps_r);
      k.rows = clamp_to(s.h - in, begin, pass.taps_r) - begin;
      const index row = k.rows > 0 ? in + begin - tile_row : 0;
      const T* const from = tile + row * k.row_stride + j * kBlock;
      o.out = out + i * pass.out_row + j * o.stride;
      o.ahead = ahead.next(k.rows * pass.taps_c * s.c);
      if (pairs && i + 1 < rows.end && begin == 0 && in + s.stride + k.rows <= s.h &&
          k.rows == pass.taps_r) {
        pair_function<T>(count)(from, k, panel, o, o.out + pass.out_row);
        ++i;
      } else {
        block(from, k, panel + begin * tap_row, o);
      }
    }
  });
}

// For few output channels, most lanes of correlate() would be empty. Here the lanes are all taps of
// all outputs: z[pixel, (tap, o)] = Σ_p in[pixel, p] W(tap)[p, o], one product per pixel, after
// which each output adds up its taps from the neighbouring pixels. Stride 1, one pass.
template <class T>
bool few_outputs(const Correlation& s) {
  const index taps = s.count == 1 && s.stride == 1 ? s.passes[0].taps() : 0;
  return s.c >= 8 && taps > 1 && 2 * div_up(taps * s.k, kLanes<T>) <= taps * div_up(s.k, kLanes<T>);
}

template <class T>
void correlate_few_outputs(const Correlation& s, const T* in, const T* w, const T* bias, T* out) {
  const Pass& pass = s.passes[0];
  const Panels<T> panels{pass.taps() * s.k};
  const index columns = round_up(panels.columns, kLanes<T>);
  const Scratch<T> packed(panels.size(s.c));
  zero(packed.get(), panels.size(s.c));
  for (index column = 0; column < panels.columns; ++column) {
    const index tap = column / s.k, p = column / panels.kWidth;
    const T* from = w + pass.w_begin + tap / pass.taps_c * pass.w_row +
                    tap % pass.taps_c * pass.w_col + column % s.k * s.w_out;
    T* to = packed.get() + panels.offset(p, s.c) + column % panels.kWidth;
    for (index i = 0; i < s.c; ++i) to[i * panels.width(p)] = from[i * s.w_in];
  }

  const TileShape shape{s.c, 1, 0, 1, s.w};
  const Scratch<Segment> segments(shape.blocks());
  row_segments(shape, 0, 1, segments.get());
  const Depth depth{1, 0, segments.get(), shape.blocks()};
  const index cached = larger(1, kCacheBytes / (s.w * columns * static_cast<index>(sizeof(T))));
  const index bands = smaller(pass.rows, larger(div_up(pass.rows, cached), div_up(kTasks, s.n)));
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
          T* to = z.get() + ((r - row_begin) * s.w + j) * columns + p * panels.kWidth;
          tile_function<T>(count, panels.vectors(p))(
              tile.get() + j * kBlock, depth, packed.get() + panels.offset(p, s.c),
              Output<T>{to, columns, panels.width(p), nullptr, 0});
        });
      }
    }
    for (index i = band.begin; i < band.end; ++i) {
      T* row = out + image * s.out_image + pass.out_begin + i * pass.out_row;
      for (index j = 0; j < pass.cols; ++j) {
        for (index o = 0; o < s.k; ++o) row[j * pass.out_col + o] = bias ? bias[o] : T{0};
      }
      for (index tap = 0; tap < pass.taps(); ++tap) {
        const index r = i + pass.first_row + tap / pass.taps_c;
        const index shift = pass.first_col + tap % pass.taps_c;
        if (r < 0 || r >= s.h) continue;
        const T* from = z.get() + (r - row_begin) * s.w * columns + tap * s.k;
        for (index j = larger(0, -shift); j < smaller(pass.cols, s.w - shift); ++j) {
          for (index o = 0; o < s.k; ++o)
            row[j * pass.out_col + o] += from[(j + shift) * columns + o];
        }
      }
    }
  });
}

// ---- few input channels
//
// What a column of taps sees, kh*c numbers, gathered side by side; those of neighbouring columns
// follow, so that what an output pixel sees is one run of numbers, [v][u][p].

// Columns of an image that a row of outputs sees, with padding.
inline index gathered_columns(const Conv& s) { return (s.ow - 1) * s.stride + s.kw; }

// What the output rows see, gathered: to[row][column][kh*c], zeros outside the image.
template <class T>
void gather_columns(const Conv& s, const T* x, Range rows, T* to) {
  const index width = gathered_columns(s), step = s.kh * s.c;
  const index begin = clamp_to(s.pad_left, 0, width);
  const index end = clamp_to(s.w + s.pad_left, begin, width);
  for (index i = rows.begin; i < rows.end; ++i, to += width * step) {
    zero(to, begin * step);
    zero(to + end * step, (width - end) * step);
    const index top = i * s.stride - s.pad_top;
    if (s.c == 1 && s.kh == 3 && top >= 0 && top + 3 <= s.h) {
      // The usual case in one loop, which compilers turn into shuffles.
      const T* from = x + top * s.w - s.pad_left;
      for (index j = begin; j < end; ++j) {
        for (index u = 0; u < 3; ++u) to[j * 3 + u] = from[u * s.w + j];
      }
      continue;
    }
    for (index u = 0; u < s.kh; ++u) {
      const index r = top + u, row = r * s.w - s.pad_left;
      for (index p = 0; p < s.c; ++p) {
        T* const at = to + u * s.c + p;
        if (r < 0 || r >= s.h) {
          for (index j = begin; j < end; ++j) at[j * step] = 0;
        } else {
          for (index j = begin; j < end; ++j) at[j * step] = x[(row + j) * s.c + p];
        }
      }
    }
  }
}

// For one input channel and one pass: a tap alone would be a run of one step. Gathered, the rows of
// the product overlap. (With two channels there is nothing in it, from three on gathering costs
// more than it saves.)
template <class T>
void correlate_one_input(const Correlation& s, const T* in, const T* w, const T* bias, T* out) {
  const Pass& pass = s.passes[0];
  const index taps = pass.taps(), size = s.h * s.w, column = s.stride * pass.taps_r;
  const Conv seen{s.n, s.h,         s.w,         1,        pass.rows,       pass.cols,
                  s.k, pass.taps_r, pass.taps_c, s.stride, -pass.first_row, -pass.first_col};
  const index row_size = gathered_columns(seen) * pass.taps_r;
  const Panels<T> panels{s.k};
  const Scratch<T> packed(panels.size(taps));
  zero(packed.get(), panels.size(taps));
  for (index o = 0; o < s.k; ++o) {
    const index p = o / panels.kWidth;
    T* to = packed.get() + panels.offset(p, taps) + o % panels.kWidth;
    for (index v = 0; v < pass.taps_c; ++v) {
      for (index u = 0; u < pass.taps_r; ++u, to += panels.width(p))
        *to = w[pass.w_begin + u * pass.w_row + v * pass.w_col + o * s.w_out];
    }
  }
  const index cached = larger(1, kCacheBytes / (row_size * static_cast<index>(sizeof(T))));
  const index bands = smaller(pass.rows, larger(div_up(pass.rows, cached), div_up(kTasks, s.n)));
  const bool streamed = streams(out, s.k, s.n * s.out_image);
  parallel_for(s.n * bands, [&](index task) {
    const index image = task / bands;
    const Range band = part_of(pass.rows, bands, task % bands);
    const Scratch<T> gathered(band.size() * row_size);
    gather_columns(seen, in + image * size, band, gathered.get());
    for (index i = band.begin; i < band.end; ++i) {
      const T* row = gathered.get() + (i - band.begin) * row_size;
      T* to = out + image * s.out_image + pass.out_begin + i * pass.out_row;
      for_row_blocks(pass.cols, panels.vectors(0), [&](index j, index count) {
        for (index p = 0; p < panels.count(); ++p) {
          const index o = p * panels.kWidth;
          rows_function<T>(count, panels.vectors(p))(
              row + j * column, column, taps, 0, packed.get() + panels.offset(p, taps),
              Output<T>{to + j * pass.out_col + o, pass.out_col, panels.lanes(p),
                        bias ? bias + o : nullptr, 0, streamed, row});
        }
      });
    }
    if (streamed) finish_streams();
  });
}

template <class T>
void correlate(const Correlation& s, const T* in, const T* w, const T* bias, T* out) {
  if (few_outputs<T>(s)) return correlate_few_outputs(s, in, w, bias, out);
  if (s.c == 1 && s.count == 1 && s.passes[0].taps() > 1)
    return correlate_one_input(s, in, w, bias, out);
  // The box of input pixels around output (0, 0) that the taps of any pass read, and the grid of
  // outputs that covers every pass.
  index top = 0, bottom = 0, left = 0, right = 0, rows = 0, cols = 0;
  index panels_size = 0, segments_size = 0, tap_rows = 0;
  bool first = true;
  const Panels<T> panels{s.k};
  const index blocks = div_up(s.c, kBlock);
  for (index q = 0; q < s.count; ++q) {
    Pass& pass = s.passes[q];
    rows = larger(rows, pass.rows);
    cols = larger(cols, pass.cols);
    pass.panels_begin = panels_size;
    pass.segments_begin = segments_size;
    panels_size += panels.size(pass.taps() * s.c);
    segments_size += blocks * pass.taps_c;
    tap_rows = larger(tap_rows, pass.taps_r);
    if (pass.taps() == 0) continue;
    const index end_row = pass.first_row + pass.taps_r, end_col = pass.first_col + pass.taps_c;
    top = first ? pass.first_row : smaller(top, pass.first_row);
    left = first ? pass.first_col : smaller(left, pass.first_col);
    bottom = first ? end_row : larger(bottom, end_row);
    right = first ? end_col : larger(right, end_col);
    first = false;
  }
  const index reach = larger(right - left, 1);
  const TileShape shape{s.c, s.stride, left, smaller(s.stride, reach),
                        cols + (reach - 1) / s.stride};

  const Scratch<T> packed(panels_size);
  const Scratch<Segment> segments(segments_size);
  parallel_for(s.count * panels.count() * tap_rows, [&](index task) {
    const Pass& pass = s.passes[task / (panels.count() * tap_rows)];
    const index a = task % tap_rows;
    if (a < pass.taps_r) pack_taps(s, pass, task / tap_rows % panels.count(), a, w, packed.get());
  });
  for (index q = 0; q < s.count; ++q) {
    const Pass& pass = s.passes[q];
    row_segments(shape, pass.first_col - left, pass.taps_c, segments.get() + pass.segments_begin);
  }

  // A task makes a band of rows of one image, for some of the panels. Bands keep the tile inside
  // the cache and, for few images, make enough tasks.
  const index row_bytes = shape.row_step() * static_cast<index>(sizeof(T));
  const index cached = larger(1, (kCacheBytes / row_bytes - (bottom - top)) / s.stride + 1);
  const index bands = smaller(rows, larger(div_up(rows, cached), div_up(kTasks, s.n)));
  const index groups = smaller(panels.count(), div_up(kTasks, s.n * bands));
  const bool streamed = streams(out, s.k, s.n * s.out_image);
  parallel_for(s.n * bands * groups, [&](index task) {
    const index image = task / (bands * groups);
    const Range band = part_of(rows, bands, task / groups % bands);
    const Range group = part_of(panels.count(), groups, task % groups);
    const index row_begin = clamp_to(band.begin * s.stride + top, 0, s.h);
    const index row_end = clamp_to((band.end - 1) * s.stride + bottom, row_begin, s.h);
    const Scratch<T> tile((row_end - row_begin) * shape.row_step());
    for (index r = row_begin; r < row_end; ++r) {
      fill_tile_row(shape, in + (image * s.h + r) * s.w * s.c, s.w,
                    tile.get() + (r - row_begin) * shape.row_step());
    }
    // What this thread will probably read next.
    ReadAhead ahead;
    if (const index next = image + 1; bands * groups == 1 && next < s.n) {
      const index size = s.h * s.w * s.c;
      ahead.add(in + next * size, size);
    }
    for (index q = 0; q < s.count; ++q) {
      const Pass& pass = s.passes[q];
      const Depth depth{0, shape.row_step(), segments.get() + pass.segments_begin,
                        blocks * pass.taps_c};
      for (index p = group.begin; p < group.end; ++p) {
        const T* panel = packed.get() + pass.panels_begin + panels.offset(p, pass.taps() * s.c);
        const index col = p * panels.kWidth;
        const Output<T> o{out + image * s.out_image + pass.out_begin + col,
                          pass.out_col,
                          panels.lanes(p),
                          bias ? bias + col : nullptr,
                          0,
                          streamed};
        correlate_rows(s, pass, {band.begin, smaller(band.end, pass.rows)}, tile.get(), row_begin,
                       depth, panel, panels.vectors(p), ahead, o);
      }
    }
    if (streamed) finish_streams();
  });
}

// A 1x1 convolution of whole images is a matrix product of all pixels: [n*h*w, c] x [c, k].
inline bool is_pointwise(const Conv& s) {
  return s.kh == 1 && s.kw == 1 && s.stride == 1 && s.pad_top == 0 && s.pad_left == 0 &&
         s.oh == s.h && s.ow == s.w;
}

// The adjoint of a convolution of stride 1: one of dy, with the taps mirrored.
inline Conv adjoint_of(const Conv& s) {
  return {s.n,
          s.oh,
          s.ow,
          s.k,
          s.h,
          s.w,
          s.c,
          s.kh,
          s.kw,
          1,
          s.kh - 1 - s.pad_top,
          s.kw - 1 - s.pad_left};
}

// x in two arrays only if it is pointwise.
template <class T>
void direct_forward(const Conv& s, const Image<const T>& x, const T* w, const T* bias, T* y) {
  if (is_pointwise(s)) {
    const Gemm g{s.n * s.h * s.w, s.k, s.c, false, true, false, x.own(), s.c, s.k};
    return gemm_rows(g, x.x, w, bias, y, x.beside, x.beside_c);
  }
  Pass pass{s.oh, s.ow, -s.pad_top, -s.pad_left, s.kh, s.kw, 0, s.kw, 1, 0, s.ow * s.k, s.k, 0, 0};
  const Correlation forward{
      s.n,         s.h,   s.w, s.c, s.k, s.oh * s.ow * s.k, s.stride, s.c * s.kh * s.kw,
      s.kh * s.kw, &pass, 1};
  correlate(forward, x.x, w, bias, y);
}

// One dimension of a pass of the backward convolution: the outputs r = f, f + s, f + 2s...
struct Phase {
  index count;      // how many r < extent
  index taps, tap;  // how many taps; the tap that comes first, the last of u0, u0 + s...
  index first;      // the pixel of dy that it reads for r = f
};
inline Phase phase_of(index f, index stride, index extent, index kernel, index pad) {
  const index u0 = (f + pad) % stride;
  const index taps = u0 < kernel ? div_up(kernel - u0, stride) : 0;
  const index last = u0 + (taps - 1) * stride;
  // r = f + q*s under tap `last` reads dy at q + (f + pad - last) / s; the division is exact.
  return {f < extent ? div_up(extent - f, stride) : 0, taps, last,
          taps > 0 ? div_floor(f + pad - last, stride) : 0};
}

// dx, + add, of a pointwise one: a product for each array of channels.
template <class T>
void pointwise_backward_data(const Conv& s, const T* dy, const T* w, const Image<const T>& add,
                             const Image<T>& dx) {
  const index pixels = s.n * s.h * s.w;
  dx.parts({0, s.c}, [&](Range part) {
    const index channels = part.size();
    T* const to = dx.at(0, part.begin);
    const T* summand = add.at(0, part.begin);
    if (summand && summand != to) copy_rows(pixels, channels, summand, channels, to, channels);
    const Gemm g{pixels, channels, s.k, false, false, summand != nullptr, s.k, s.c, channels};
    gemm_rows(g, dy, w + part.begin, static_cast<const T*>(nullptr), to);
  });
}

template <class T>
void direct_backward_data(const Conv& s, const T* dy, const T* w, T* dx) {
  const Scratch<Pass> passes(s.stride * s.stride);
  for (index fr = 0; fr < s.stride; ++fr) {
    for (index fc = 0; fc < s.stride; ++fc) {
      const Phase r = phase_of(fr, s.stride, s.h, s.kh, s.pad_top);
      const Phase c = phase_of(fc, s.stride, s.w, s.kw, s.pad_left);
      const bool empty = r.taps == 0 || c.taps == 0;  // no tap: dx = 0 there
      passes[fr * s.stride + fc] = {r.count,
                                    c.count,
                                    r.first,
                                    c.first,
                                    empty ? 0 : r.taps,
                                    empty ? 0 : c.taps,
                                    r.tap * s.kw + c.tap,
                                    -s.stride * s.kw,
                                    -s.stride,
                                    (fr * s.w + fc) * s.c,
                                    s.stride * s.w * s.c,
                                    s.stride * s.c,
                                    0,
                                    0};
    }
  }
  const Correlation backward{s.n,
                             s.oh,
                             s.ow,
                             s.k,
                             s.c,
                             s.h * s.w * s.c,
                             1,
                             s.kh * s.kw,
                             s.c * s.kh * s.kw,
                             passes.get(),
                             s.stride * s.stride};
  correlate(backward, dy, w, static_cast<const T*>(nullptr), dx);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
