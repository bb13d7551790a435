// How the work of a direct weight gradient (conv_weights.h) is split, and the layout of its result while
// it is summed.
#pragma once
#include "tensor/kernels/conv_geometry.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Below this many input channels, the c rows of one tap would leave most of the register block empty:
// columns of taps are gathered (gather_columns) and make kh*c rows of the result.
inline constexpr index kFewChannels = 8;

// ---- the result: [weight_row][output channel]

// Rows for one row of taps. The last stays empty: rows of taps 4 KiB apart would share a set of L1.
inline index tap_row_step(const Conv& conv) { return conv.kw * conv.c + 1; }
inline index weight_rows(const Conv& conv) {
  return conv.kh * (conv.c < kFewChannels ? conv.kw * conv.c : tap_row_step(conv));
}
// Taps v = phase, phase + stride, ...
inline index taps_of_phase(const Conv& conv, index phase) {
  return div_up(conv.kw - phase, conv.stride);
}
// Row of the result for tap (u, v) and channel p: [u][channel block][taps v, phase by phase][channel].
// Consecutive rows then multiply consecutive elements of a tile, and a register block of rows may
// span several taps of a phase.
inline index weight_row(const Conv& conv, index u, index v, index p) {
  if (conv.c < kFewChannels) return (v * conv.kh + u) * conv.c + p;
  const index first = p / kBlock * kBlock, width = smaller(kBlock, conv.c - first);
  index tap = v;
  if (conv.stride > 1) {
    tap = v / conv.stride;
    for (index phase = 0; phase < v % conv.stride; ++phase) tap += taps_of_phase(conv, phase);
  }
  return u * tap_row_step(conv) + first * conv.kw + tap * width + p - first;
}

// ---- the work
//
// The pixels of all images are split into `splits` partitions (split-K), each with a partial result.
// A partition is a range of groups; a group is what a task holds in its cache at a time: a band of
// output rows of one image, or several whole images if they are small.
struct WeightPlan {
  index rows;          // of the result
  index columns;       // k rounded up to whole vectors
  bool gather;         // few channels
  TileShape shape;     // unless gather
  index bands;         // per image
  index band_rows;     // output rows
  index images;        // per group
  index groups;        // in all
  index splits;        // partitions of the groups
  index panel_groups;  // partitions of the panels
  index walk_rows;     // output rows whose part of one panel of dy stays in L1

  index partial() const { return rows * columns; }  // elements of a partial result
};

template <class T>
WeightPlan plan_weights(const Conv& conv) {
  constexpr index kBytes = sizeof(T);
  WeightPlan p{};
  p.rows = weight_rows(conv);
  p.columns = round_up(conv.k, kLanes<T>);
  p.gather = conv.c < kFewChannels;
  const index pixels = conv.oh * conv.ow;
  index row_bytes;  // in the cache, per output row
  if (p.gather) {
    row_bytes = (gathered_columns(conv) * conv.kh * conv.c + conv.ow * p.columns) * kBytes;
  } else {
    p.shape = {.channels = conv.c,
               .stride = conv.stride,
               .first_col = -conv.pad_left,
               .phases = smaller(conv.stride, conv.kw),
               .width = conv.ow + (conv.kw - 1) / conv.stride};
    row_bytes = smaller(conv.stride, conv.kh) * p.shape.row_step() * kBytes;
  }
  const index cached =
      larger(1, kCache.task() / row_bytes - (p.gather ? 0 : conv.kh / conv.stride));
  p.bands = smaller(conv.oh, larger(div_up(conv.oh, cached), div_up(kTasks / 2, conv.n)));
  p.band_rows = div_up(conv.oh, p.bands);
  // A walk over this many pixels reads as much of dy as L1 keeps, for every tap and channel. It is
  // also long against loading and storing the sums, which costs as much as about 4 pixels.
  const index walk_pixels = kCache.l1_operand() / (2 * kVectorBytes);
  p.walk_rows = larger(1, walk_pixels / conv.ow);
  p.images = p.bands > 1 ? 1 : clamp_to(smaller(cached / conv.oh, walk_pixels / pixels), 1, 8);
  p.groups = div_up(conv.n * p.bands, p.images);
  p.splits =
      smaller(clamp_to(kCache.weight_partials() / (p.partial() * kBytes), 1, kTasks / 2), p.groups);
  // Every task copies its own tiles: no more tasks than the threads need.
  const index tasks = smaller(kTasks / 2, 4 * thread_count());
  p.panel_groups = smaller(Panels<T>{conv.k}.count(), div_up(tasks, p.splits));
  return p;
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
