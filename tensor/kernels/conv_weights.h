// The gradient of a convolution with respect to its weights,
//   dw[o, p, u, v] = Σ_{image,i,j} x[image, i*s + u - pad, j*s + v - pad, p] dy[image, i, j, o],
// for each tap (u, v) the product of a shifted, transposed x [c, pixels] with dy [pixels, k]:
// outer_block with rows = input channels, columns = output channels, and k = pixels.
//
// The pixels are cut into chunks, each with its own sum, added up in order at the end. How many
// depends on the shape alone: few for large weights here, so that memory and the final pass stay
// small.
#pragma once
#include "tensor/kernels/conv.h"
#include "tensor/kernels/pointwise.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Below this many input channels, the c rows of one tap would leave most of the register block
// empty: columns of taps are gathered (gather_columns) and make kh*c rows of the result.
inline constexpr index kFewChannels = 8;

// Rows of the result for one row of taps, the last of which stays empty: a distance of 4 KiB would
// crowd all taps into one set of the first-level cache.
inline index tap_row_step(const Conv& s) { return s.kw * s.c + 1; }
// Rows of the result.
inline index weight_rows(const Conv& s) {
  return s.kh * (s.c < kFewChannels ? s.kw * s.c : tap_row_step(s));
}
// Taps v of one phase, phase + i stride.
inline index taps_of_phase(const Conv& s, index phase) { return div_up(s.kw - phase, s.stride); }
// Row of the result for tap (u, v) and channel p. Channels come in blocks of a tile, and inside one
// the taps v, phase by phase: the numbers that these rows multiply are then neighbours in the tile,
// and blocks of rows may run across the taps of a phase.
inline index weight_row(const Conv& s, index u, index v, index p) {
  if (s.c < kFewChannels) return (v * s.kh + u) * s.c + p;
  const index first = p / kBlock * kBlock, width = smaller(kBlock, s.c - first);
  index place = v;
  if (s.stride > 1) {
    place = v / s.stride;
    for (index phase = 0; phase < v % s.stride; ++phase) place += taps_of_phase(s, phase);
  }
  return u * tap_row_step(s) + first * s.kw + place * width + p - first;
}

// How the work is cut. A unit is a band of output rows of one image; a group is what a task holds
// in its cache at a time: one unit, or several whole images where they are small.
struct WeightPlan {
  index depth;    // rows of the result
  index columns;  // k rounded up to whole vectors
  bool gather;    // few channels
  TileShape shape;
  index bands, band_rows, images;  // images per group
  index groups, chunks, panel_groups;
  index walk_rows;  // output rows whose part of dy, one panel wide, stays in the first-level cache
};

template <class T>
WeightPlan plan_weights(const Conv& s) {
  constexpr index kBytes = sizeof(T);
  WeightPlan p{};
  p.depth = weight_rows(s);
  p.columns = round_up(s.k, kLanes<T>);
  p.gather = s.c < kFewChannels;
  const index pixels = s.oh * s.ow;
  index row_bytes;  // in the cache, for each output row
  if (p.gather) {
    row_bytes = (gathered_columns(s) * s.kh * s.c + s.ow * p.columns) * kBytes;
  } else {
    p.shape = {s.c, s.stride, -s.pad_left, smaller(s.stride, s.kw), s.ow + (s.kw - 1) / s.stride};
    row_bytes = smaller(s.stride, s.kh) * p.shape.row_step() * kBytes;
  }
  const index cached = larger(1, kCacheBytes / row_bytes - (p.gather ? 0 : s.kh / s.stride));
  p.bands = smaller(s.oh, larger(div_up(s.oh, cached), div_up(kTasks / 2, s.n)));
  p.band_rows = div_up(s.oh, p.bands);
  // A walk of this many pixels reads 16 KiB of dy, again and again for every tap and channel. It is
  // also long against loading and storing the sums, which costs as much as about 4 pixels.
  const index walk_pixels = 16384 / (2 * kVectorBytes);
  p.walk_rows = larger(1, walk_pixels / s.ow);
  p.images = p.bands > 1 ? 1 : clamp_to(smaller(cached / s.oh, walk_pixels / pixels), 1, 8);
  p.groups = div_up(s.n * p.bands, p.images);
  const index part_bytes = p.depth * p.columns * kBytes;
  p.chunks = smaller(clamp_to((5 << 20) / part_bytes, 1, kTasks / 2), p.groups);
  // Every task copies its own tiles: no more tasks than the threads need.
  const index tasks = smaller(kTasks / 2, 4 * thread_count());
  p.panel_groups = smaller(Panels<T>{s.k}.count(), div_up(tasks, p.chunks));
  return p;
}

// The x that a task holds in its cache, as a tile or gathered.
template <class T>
struct WeightGroup {
  index images;
  Range rows;      // output rows, in each of the images
  index tile_row;  // the input row with which the tile begins
  const T* tile;
  index tile_image;  // from one image's tile to the next
};

// dy's panels of a group, each contiguous: read in place, again and again, pixels 64 or 128
// channels apart would crowd into a few sets of the first-level cache. Lanes that do not exist are
// 0.
template <class T>
void pack_columns(const T* dy, index pixels, index k, Range panel_range, T* to) {
  const Panels<T> panels{k};
  for (index p = panel_range.begin; p < panel_range.end; ++p) {
    const T* from = dy + p * panels.kWidth;
    for (index i = 0; i < pixels; ++i, from += k, to += panels.width(p)) {
      for_vectors<T>(panels.lanes(p),
                     [&](index j, auto extent) { store<T>(to + j, load(from + j, extent)); });
    }
  }
}

// Adds a group of gathered columns to one panel of a part, and the panel's columns to
// `column_sums`.
template <class T>
void add_gathered(const Conv& s, const WeightPlan& plan, const WeightGroup<T>& g, index p,
                  const T* dy, index dy_step, bool first, ReadAhead& ahead, T* part,
                  T* column_sums) {
  const index vectors = Panels<T>{s.k}.vectors(p), width = vectors * kLanes<T>;
  const index column = s.kh * s.c, row_step = s.ow * dy_step;
  const Walk k{
      g.images, g.tile_image, g.rows.size() * row_step, g.rows.size(), gathered_columns(s) * column,
      row_step, s.ow,         s.stride * column,        dy_step};
  if (first) zero(column_sums, width);
  for_blocks_of(max_rows(vectors) - 1, plan.depth, [&](index r, index rows) {
    T* out = part + r * width;
    const bool sums = r == 0;
    const index lines =
        k.images * k.rows * k.cols * (sums ? kLinesAhead<true> : kLinesAhead<false>);
    const Output<T> o{
        out, width, width, first ? nullptr : out, width, false, ahead.next(lines), column_sums};
    const auto add =
        sums ? outer_function<T, true>(rows, vectors) : outer_function<T>(rows, vectors);
    add(g.tile + r, dy, k, o);
  });
}

// Adds one group to one panel of a part, [depth, lanes]; the first one overwrites. `dy` is the
// panel, its pixels dy_step apart. (Panels of a part lie apart: side by side, two cores'
// prefetchers would fight over them.)
template <class T>
void add_group(const Conv& s, const WeightPlan& plan, const WeightGroup<T>& g, index p, const T* dy,
               index dy_step, bool first, ReadAhead& ahead, T* part) {
  const index vectors = Panels<T>{s.k}.vectors(p), width = vectors * kLanes<T>;
  const auto add = [&](const T* a, const T* b, const Walk& k, index row, index count, bool fresh) {
    for_row_blocks(count, vectors, [&](index r, index rows) {
      T* out = part + (row + r) * width;
      const Output<T> o{out,
                        width,
                        width,
                        fresh ? nullptr : out,
                        width,
                        false,
                        ahead.next(k.images * k.rows * k.cols)};
      outer_function<T>(rows, vectors)(a + r, b, k, o);
    });
  };
  const index row_step = s.ow * dy_step, image_step = g.rows.size() * row_step;
  const TileShape& shape = plan.shape;
  const index walks = div_up(g.rows.size(), plan.walk_rows);
  for (index walk = 0; walk < walks; ++walk) {
    const Range part_rows = part_of(g.rows.size(), walks, walk);
    for (index block = 0; block < shape.blocks() * s.kh; ++block) {
      const index c = block / s.kh * kBlock, u = block % s.kh;
      // Output rows whose input row i*stride + shift exists.
      const index shift = u - s.pad_top;
      const index from = g.rows.begin + part_rows.begin, to = g.rows.begin + part_rows.end;
      const index begin = clamp_to(-div_floor(shift, s.stride), from, to);
      const index end = clamp_to(div_floor(s.h - 1 - shift, s.stride) + 1, begin, to);
      const Walk k{g.images, g.tile_image, image_step, end - begin, s.stride * shape.row_step(),
                   row_step, s.ow,         kBlock,     dy_step};
      const index row = begin < end ? begin * s.stride + shift - g.tile_row : 0;
      const T* a = g.tile + row * shape.row_step() + c / kBlock * shape.block_step();
      const T* b = dy + (begin - g.rows.begin) * row_step;
      const bool fresh = first && walk == 0;
      const index channels = smaller(kBlock, s.c - c);
      for (index phase = 0; phase < shape.phases; ++phase) {
        const index taps = taps_of_phase(s, phase), runs = channels == kBlock ? 1 : taps;
        for (index run = 0; run < runs; ++run) {
          const index v = phase + run * s.stride;
          add(a + shape.column(v), b, k, weight_row(s, u, v, c), taps / runs * channels, fresh);
        }
      }
    }
  }
}

// Where dw[o, p, u, v] lies: taps from one to the next (or, mirrored, to the one before).
struct WeightOrder {
  index out, in;  // distance between output channels (o), input channels (p)
  bool mirrored;
};

// db = Σ bias_parts[chunk, o], with o filled up to whole vectors.
template <class T>
void add_up_bias(index k, index chunks, const T* bias_parts, T* db) {
  for (index o = 0; o < k; ++o) {
    T sum = 0;
    for (index chunk = 0; chunk < chunks; ++chunk)
      sum += bias_parts[chunk * round_up(k, kLanes<T>) + o];
    db[o] = sum;
  }
}

// dw = Σ parts[chunk, panel, row, lane]. A block of channels at a time, whose rows are neighbours
// in every part.
template <class T>
void add_up_weights(const Conv& s, index chunks, const WeightOrder& order, const T* parts, T* dw) {
  const Panels<T> panels{s.k};
  const index taps = s.kh * s.kw, blocks = div_up(s.c, kBlock);
  const index part_step = weight_rows(s) * round_up(s.k, kLanes<T>);
  parallel_for(panels.count() * blocks, [&](index task) {
    const index panel = task / blocks, first = task % blocks * kBlock;
    const index channels = smaller(kBlock, s.c - first), width = panels.width(panel);
    const Scratch<T> sums(channels * taps * width);
    for (index t = 0; t < taps; ++t) {
      T* to = &sums[(order.mirrored ? taps - 1 - t : t) * width];
      for (index p = 0; p < channels; ++p) {
        const T* from = parts + panels.offset(panel, weight_rows(s)) +
                        weight_row(s, t / s.kw, t % s.kw, first + p) * width;
        for (index j = 0; j < width; j += kLanes<T>) {
          Vec<T> sum{};
          for (index chunk = 0; chunk < chunks; ++chunk) sum += load(from + chunk * part_step + j);
          store<T>(to + p * taps * width + j, sum);
        }
      }
    }
    for (index j = 0; j < panels.lanes(panel); ++j) {
      T* to = dw + (panel * panels.kWidth + j) * order.out + first * order.in;
      for (index p = 0; p < channels; ++p) {
        for (index t = 0; t < taps; ++t) to[p * order.in + t] = sums[(p * taps + t) * width + j];
      }
    }
  });
}

// of_image[n, k] = Σ dy over the pixels of each image.
template <class T>
void sum_pixels(const Conv& s, const T* dy, T* of_image) {
  const index pixels = s.oh * s.ow;
  parallel_for(s.n,
               [&](index b) { sum_rows(pixels, s.k, dy + b * pixels * s.k, of_image + b * s.k); });
}

template <class T>
void weight_gradient(const Conv& s, const WeightOrder& order, const T* x, const T* dy, T* dw,
                     T* db) {
  const WeightPlan plan = plan_weights<T>(s);
  const Panels<T> panels{s.k};
  const Scratch<T> parts(plan.chunks * plan.depth * plan.columns);
  const Scratch<T> bias_parts(plan.chunks * plan.columns);

  parallel_for(plan.chunks * plan.panel_groups, [&](index task) {
    const index chunk = task / plan.panel_groups;
    const Range group_range = part_of(plan.groups, plan.chunks, chunk);
    const Range panel_range = part_of(panels.count(), plan.panel_groups, task % plan.panel_groups);
    const index most_pixels = plan.images * plan.band_rows * s.ow;
    const index tile_rows = smaller(s.h, (plan.band_rows - 1) * s.stride + s.kh);
    const index tile_image = plan.gather ? plan.band_rows * gathered_columns(s) * s.kh * s.c
                                         : tile_rows * plan.shape.row_step();
    const Scratch<T> tile(plan.images * tile_image);
    // dy is read where it lies if it is one panel, or for so few rows that copying would not pay.
    const bool in_place = s.k % kLanes<T> == 0 && (panels.count() == 1 || plan.gather);
    const Scratch<T> dy_panels(in_place ? 0 : most_pixels * panel_range.size() * panels.kWidth);

    for (index unit = group_range.begin; unit < group_range.end; ++unit) {
      const index image = plan.bands > 1 ? unit / plan.bands : unit * plan.images;
      const index images = smaller(plan.images, s.n - image);
      const Range rows = part_of(s.oh, plan.bands, plan.bands > 1 ? unit % plan.bands : 0);
      const index pixels = rows.size() * s.ow;
      const T* panel = dy + (image * s.oh + rows.begin) * s.ow * s.k;
      if (in_place) {
        panel += panel_range.begin * panels.kWidth;
      } else {
        pack_columns(panel, images * pixels, s.k, panel_range, dy_panels.get());
        panel = dy_panels.get();
      }
      const index top = clamp_to(rows.begin * s.stride - s.pad_top, 0, s.h);
      const index bottom = clamp_to((rows.end - 1) * s.stride - s.pad_top + s.kh, top, s.h);
      for (index b = 0; b < images; ++b) {
        const T* from = x + (image + b) * s.h * s.w * s.c;
        if (plan.gather) {
          gather_columns(s, from, rows, &tile[b * tile_image]);
          continue;
        }
        for (index r = top; r < bottom; ++r) {
          fill_tile_row(plan.shape, from + r * s.w * s.c, s.w,
                        &tile[b * tile_image + (r - top) * plan.shape.row_step()]);
        }
      }
      // What this thread will probably read next: threads take neighbouring tasks.
      ReadAhead ahead;
      const bool again = unit + 1 == group_range.end && panel_range.end < panels.count();
      const index next = (again ? group_range.begin : unit + 1) * plan.images;
      if (plan.bands == 1 && next < s.n) {
        const index x_size = s.h * s.w * s.c, dy_size = s.oh * s.ow * s.k;
        const index count = smaller(plan.images, s.n - next);
        ahead.add(x + next * x_size, count * x_size);
        ahead.add(dy + next * dy_size, count * dy_size);
      }
      const WeightGroup<T> group{images, rows, top, tile.get(), tile_image};
      const bool first = unit == group_range.begin;
      for (index p = panel_range.begin; p < panel_range.end; ++p) {
        const index width = panels.width(p), step = in_place ? s.k : width;
        T* part = &parts[chunk * plan.depth * plan.columns + panels.offset(p, plan.depth)];
        T* bias_part = &bias_parts[chunk * plan.columns + p * panels.kWidth];
        if (plan.gather) {
          add_gathered(s, plan, group, p, panel, step, first, ahead, part, bias_part);
        } else {
          add_group(s, plan, group, p, panel, step, first, ahead, part);
          for (index j = 0; db != nullptr && j < width; j += kLanes<T>) {
            const Vec<T> sum = sum_terms<Vec<T>>(
                images * pixels, [&](index i) { return load(panel + i * step + j); });
            store<T>(bias_part + j, first ? sum : load(bias_part + j) + sum);
          }
        }
        panel += in_place ? width : images * pixels * width;
      }
    }
  });
  add_up_weights(s, plan.chunks, order, parts.get(), dw);
  if (db) add_up_bias(s.k, plan.chunks, bias_parts.get(), db);
}

template <class T>
void direct_backward_weights(const Conv& s, const Image<const T>& image, const T* dy, T* dw,
                             T* db) {
  const index taps = s.kh * s.kw;
  const T* x = image.x;
  if (is_pointwise(s)) {
    image.parts({0, s.c}, [&](Range part) {
      const Gemm g{s.k, part.size(), s.n * s.h * s.w, true, false, false, s.k, part.size(), s.c};
      gemm_columns(g, dy, image.at(0, part.begin), dw + part.begin, part.begin == 0 ? db : nullptr);
    });
    return;
  }
  if (s.stride == 1 && s.k < kLanes<T> / 2 && s.k < s.c) {
    // So few output channels leave most lanes empty. The sum is symmetric: with x and dy in each
    // other's place, the taps mirrored, the lanes are the input channels.
    weight_gradient(adjoint_of(s), {taps, s.c * taps, true}, dy, x, dw, static_cast<T*>(nullptr));
    if (db) sum_rows(s.n * s.oh * s.ow, s.k, dy, db);
    return;
  }
  weight_gradient(s, {s.c * taps, taps, false}, x, dy, dw, db);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
