// The direct sum of a convolution, forward and for the gradient of its input. Both are sums over taps
// of products of shifted images with small matrices, in one or several passes of stride-1 outputs:
//
//   out(i, j)[o] = bias[o] + Σ_{a,b,p} in(i*stride + first_row + a, j*stride + first_col + b)[p]
//                                      W(a, b)[p, o]
//
// Forward there is one pass, with W(a, b)[p, o] = w[o, p, a, b]; for the gradient there are stride²
// (conv_input_gradient.h).
#pragma once
#include "tensor/kernels/conv_geometry.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// One pass: the outputs it fills, the taps it sums, and the strides of weights and outputs.
struct Pass {
  index rows, cols;            // output pixels
  index first_row, first_col;  // input pixel of output (0, 0) under tap (0, 0)
  index taps_r, taps_c;
  index w_begin, w_row, w_col;        // weights of tap (a, b) at w + w_begin + a*w_row + b*w_col
  index out_begin, out_row, out_col;  // output (i, j) at out + out_begin + i*out_row + j*out_col

  index taps() const { return taps_r * taps_c; }
};

struct Correlation {
  index n, h, w, c;    // input images
  index k, out_image;  // output channels, elements per output image
  index stride;        // input pixels per output pixel
  index w_out, w_in;   // distance between output and between input channels in the weights
  const Pass* passes;
  index count;
};

// Where a pass's packed weights and its segments begin.
struct PassLayout {
  index panels_begin, segments_begin;
};
// Common to all passes.
struct CorrelationLayout {
  index top = 0, bottom = 0, left = 0,
        right = 0;           // input pixels around output (0, 0) under any tap
  index rows = 0, cols = 0;  // outputs that cover every pass
  index tap_rows = 0;        // the most of a pass
  index panels_size = 0, segments_size = 0;
};
template <class T>
CorrelationLayout lay_out(const Correlation& s, PassLayout* passes) {
  CorrelationLayout l;
  bool first = true;
  const Panels<T> panels{s.k};
  for (index q = 0; q < s.count; ++q) {
    const Pass& pass = s.passes[q];
    l.rows = larger(l.rows, pass.rows);
    l.cols = larger(l.cols, pass.cols);
    passes[q] = {l.panels_size, l.segments_size};
    l.panels_size += panels.size(pass.taps() * s.c);
    l.segments_size += div_up(s.c, kBlock) * pass.taps_c;
    l.tap_rows = larger(l.tap_rows, pass.taps_r);
    if (pass.taps() == 0) continue;
    const index end_row = pass.first_row + pass.taps_r, end_col = pass.first_col + pass.taps_c;
    l.top = first ? pass.first_row : smaller(l.top, pass.first_row);
    l.left = first ? pass.first_col : smaller(l.left, pass.first_col);
    l.bottom = first ? end_row : larger(l.bottom, end_row);
    l.right = first ? end_col : larger(l.right, end_col);
    first = false;
  }
  return l;
}

// One slab of panel p: the weights of tap row a as [channel block][tap][channel][lane]. `packed`: of
// this pass.
template <class T>
void pack_taps(const Correlation& s, const Pass& pass, index p, index a, const T* w, T* packed) {
  const Panels<T> panels{s.k};
  const index width = panels.width(p), lanes = panels.lanes(p), row_depth = pass.taps_c * s.c;
  T* to = packed + panels.offset(p, pass.taps_r * row_depth) + a * row_depth * width;
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

// Whether two rows of outputs together fill register blocks better than each alone. With 16 registers,
// rows of 7 need blocks of 4 and 3, too few to hide the latency of the multiply-adds; two rows need
// blocks of 3 + 3, 2 + 2 and 2 + 2 (a tenth less time). From 12 outputs on there is no difference;
// with 32 registers, 7 outputs fill a block.
constexpr bool pairing_is_profitable(index cols) {
  const index rest = cols % kMaxRows<2>;
  return kRegisters == 16 && cols < 2 * kMaxRows<2> && rest > 0 && rest <= kMaxPairs;
}

// One pass and one panel of a tile.
template <class T>
struct CorrelationPanel {
  const Correlation& problem;
  const Pass& pass;
  const T* tile;  // begins with input row tile_row
  index tile_row;
  Reduction reduction;  // of one output, over all rows of taps; its `rows` are set per output row
  const T* panel;
  index vectors;
  Output<T> out;  // of output row 0
};

// Some output rows. Column blocks are the outer loop: rows one after the other share two of three
// tile rows in L1, and run the same micro-kernel.
template <class T>
void correlate_rows(const CorrelationPanel<T>& job, Range rows, PrefetchQueue& queue) {
  const Correlation& s = job.problem;
  const Pass& pass = job.pass;
  Reduction reduction = job.reduction;
  Output<T> o = job.out;
  const index tap_row = pass.taps_c * s.c * job.vectors * kLanes<T>;  // weights of one row of taps
  T* const out = o.out;
  o.second = pass.out_row;
  reduction.second = s.stride * reduction.row_stride;
  const bool pairs = job.vectors == 2 && rows.size() > 1 && pairing_is_profitable(pass.cols);
  for_blocks_of(pairs ? kMaxPairs : max_rows(job.vectors), pass.cols, [&](index j, index count) {
    const TileBlock<T> block = tile_function<T>(count, job.vectors);
    for (index i = rows.begin; i < rows.end; ++i) {
      // Only tap rows inside the image: those above and below would add zeros.
      const index in = i * s.stride + pass.first_row;
      const index begin = clamp_to(-in, 0, pass.taps_r);
      reduction.rows = clamp_to(s.h - in, begin, pass.taps_r) - begin;
      const index row = reduction.rows > 0 ? in + begin - job.tile_row : 0;
      const T* const from = job.tile + row * reduction.row_stride + j * kBlock;
      o.out = out + i * pass.out_row + j * o.stride;
      o.prefetch = queue.next(reduction.rows * pass.taps_c * s.c);
      if (pairs && i + 1 < rows.end && begin == 0 && in + s.stride + reduction.rows <= s.h &&
          reduction.rows == pass.taps_r) {
        pair_function<T>(count)(from, reduction, job.panel, o);
        ++i;
      } else {
        block(from, reduction, job.panel + begin * tap_row, o);
      }
    }
  });
}

// The general case; correlate() in conv_forward.h chooses among it and those of correlate_thin.h.
template <class T>
class Correlator {
 public:
  Correlator(const Correlation& s, const T* w)
      : s_(s),
        panels_{s.k},
        passes_(s.count),
        layout_(lay_out<T>(s, passes_.get())),
        shape_(tile_shape()),
        packed_(layout_.panels_size),
        segments_(layout_.segments_size) {
    const index tap_rows = layout_.tap_rows;
    parallel_for(s.count * panels_.count() * tap_rows, [&](index task) {
      const index q = task / (panels_.count() * tap_rows), a = task % tap_rows;
      if (a < s.passes[q].taps_r)
        pack_taps(s, s.passes[q], task / tap_rows % panels_.count(), a, w,
                  packed_.get() + passes_[q].panels_begin);
    });
    for (index q = 0; q < s.count; ++q)
      row_segments(shape_, s.passes[q].first_col - layout_.left, s.passes[q].taps_c,
                   segments_.get() + passes_[q].segments_begin);
  }

  // A task makes a band of rows of one image, for some of the panels.
  void run(const T* in, const T* bias, T* out) const {
    const index row_bytes = shape_.row_step() * static_cast<index>(sizeof(T));
    const index tile_rows = kCache.task() / row_bytes - (layout_.bottom - layout_.top);
    const index bands = count_bands(layout_.rows, tile_rows / s_.stride + 1, s_.n);
    const index groups = smaller(panels_.count(), div_up(kTasks, s_.n * bands));
    const bool streamed = streams(out, s_.k, s_.n * s_.out_image);
    parallel_for(s_.n * bands * groups, [&](index task) {
      const index image = task / (bands * groups);
      const Range band = part_of(layout_.rows, bands, task / groups % bands);
      const Range group = part_of(panels_.count(), groups, task % groups);
      const index row_begin = clamp_to(band.begin * s_.stride + layout_.top, 0, s_.h);
      const index row_end = clamp_to((band.end - 1) * s_.stride + layout_.bottom, row_begin, s_.h);
      const Scratch<T> tile((row_end - row_begin) * shape_.row_step());
      for (index r = row_begin; r < row_end; ++r) {
        fill_tile_row(shape_, in + (image * s_.h + r) * s_.w * s_.c, s_.w,
                      tile.get() + (r - row_begin) * shape_.row_step());
      }
      // The image that this thread will probably read next.
      PrefetchQueue queue;
      if (const index next = image + 1; bands * groups == 1 && next < s_.n) {
        const index size = s_.h * s_.w * s_.c;
        queue.add(in + next * size, size);
      }
      for (index q = 0; q < s_.count; ++q) {
        for (index p = group.begin; p < group.end; ++p) {
          const index col = p * panels_.kWidth;
          const Output<T> o{.out = out + image * s_.out_image + s_.passes[q].out_begin + col,
                            .stride = s_.passes[q].out_col,
                            .lanes = panels_.lanes(p),
                            .init = bias ? bias + col : nullptr,
                            .streamed = streamed};
          correlate_rows(panel(q, p, tile.get(), row_begin, o),
                         {band.begin, smaller(band.end, s_.passes[q].rows)}, queue);
        }
      }
      if (streamed) finish_streams();
    });
  }

 private:
  TileShape tile_shape() const {
    const index reach = larger(layout_.right - layout_.left, 1);
    return {.channels = s_.c,
            .stride = s_.stride,
            .first_col = layout_.left,
            .phases = smaller(s_.stride, reach),
            .width = layout_.cols + (reach - 1) / s_.stride};
  }
  CorrelationPanel<T> panel(index q, index p, const T* tile, index tile_row,
                            const Output<T>& o) const {
    const Pass& pass = s_.passes[q];
    return {
        .problem = s_,
        .pass = pass,
        .tile = tile,
        .tile_row = tile_row,
        .reduction = {.rows = 0,
                      .row_stride = shape_.row_step(),
                      .segments = segments_.get() + passes_[q].segments_begin,
                      .count = shape_.blocks() * pass.taps_c},
        .panel = packed_.get() + passes_[q].panels_begin + panels_.offset(p, pass.taps() * s_.c),
        .vectors = panels_.vectors(p),
        .out = o};
  }

  const Correlation& s_;
  Panels<T> panels_;
  Scratch<PassLayout> passes_;
  CorrelationLayout layout_;
  TileShape shape_;
  Scratch<T> packed_;
  Scratch<Segment> segments_;
};

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
