// The gradient of a direct convolution with respect to its weights,
//   dw[o, p, u, v] = Σ_{image,i,j} x[image, i*s + u - pad, j*s + v - pad, p] dy[image, i, j, o]:
// for each tap (u, v) the product of a shifted, transposed x [c, pixels] with dy [pixels, k], by
// outer_block with input channels as rows, output channels as columns, and pixels as the reduction.
//
// The pixels are split (split-K); the partial sums are added up in order. The number of partitions
// depends on the shape alone, and is small for large weights, whose partial sums are large.
#pragma once
#include "tensor/kernels/conv_arguments.h"
#include "tensor/kernels/conv_weight_plan.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/image.h"
#include "tensor/kernels/pointwise.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// A group's x in the cache, as a tile or gathered.
template <class T>
struct WeightGroup {
  index images;
  Range rows;      // output rows, in each of the images
  index tile_row;  // the input row with which the tile begins
  const T* tile;
  index tile_image;  // from one image's tile to the next
  bool first;        // of its partition: overwrites the partial result
};

// One panel of output channels: dy of a group, and where its sums go.
template <class T>
struct WeightPanel {
  index vectors;
  const T* dy;  // pixels dy_step apart
  index dy_step;
  T* partial;      // [weight_rows, width]
  T* column_sums;  // [width]: Σ dy

  index width() const { return vectors * kLanes<T>; }
};

// dy's panels of a group, each contiguous: read in place, pixels 64 or 128 channels apart would share
// few sets of L1. Lanes after the last channel are 0.
template <class T>
void pack_columns(const T* dy, index pixels, index k, Range panel_range, T* to) {
  const Panels<T> panels{k};
  for (index p = panel_range.begin; p < panel_range.end; ++p) {
    const T* from = dy + p * panels.kWidth;
    for (index i = 0; i < pixels; ++i, from += k, to += panels.width(p)) {
      for_vectors<T>(panels.lanes(p),
                     [&](index j, auto lanes) { store<T>(to + j, load(from + j, lanes)); });
    }
  }
}

// Adds a group of gathered columns to one panel, and dy to its column sums.
template <class T>
void add_gathered(const Conv& conv, const WeightPlan& plan, const WeightGroup<T>& group,
                  const WeightPanel<T>& panel, PrefetchQueue& queue) {
  const index width = panel.width(), column = conv.kh * conv.c, row_step = conv.ow * panel.dy_step;
  const Walk walk{.images = group.images,
                  .a_image = group.tile_image,
                  .b_image = group.rows.size() * row_step,
                  .rows = group.rows.size(),
                  .a_row = gathered_columns(conv) * column,
                  .b_row = row_step,
                  .cols = conv.ow,
                  .a_col = conv.stride * column,
                  .b_col = panel.dy_step};
  if (group.first) zero(panel.column_sums, width);
  for_blocks_of(max_rows(panel.vectors) - 1, plan.rows, [&](index r, index rows) {
    T* out = panel.partial + r * width;
    const bool sums = r == 0;
    const index lines =
        walk.images * walk.rows * walk.cols * (sums ? kLinesPerStep<true> : kLinesPerStep<false>);
    const Output<T> o{.out = out,
                      .stride = width,
                      .lanes = width,
                      .init = group.first ? nullptr : out,
                      .init_stride = width,
                      .prefetch = queue.next(lines),
                      .column_sums = panel.column_sums};
    const auto add = sums ? outer_function<T, true>(rows, panel.vectors)
                          : outer_function<T>(rows, panel.vectors);
    add(group.tile + r, panel.dy, walk, o);
  });
}

// Adds a tiled group to one panel. (Panels of a partial result lie apart: next to each other, the
// prefetchers of two cores would fetch each other's lines.)
template <class T>
void add_tiled(const Conv& conv, const WeightPlan& plan, const WeightGroup<T>& group,
               const WeightPanel<T>& panel, PrefetchQueue& queue) {
  const TileShape& shape = plan.shape;
  const index width = panel.width();
  const auto add = [&](const T* a, const T* b, const Walk& walk, Range rows, bool fresh) {
    for_row_blocks(rows.size(), panel.vectors, [&](index r, index count) {
      T* out = panel.partial + (rows.begin + r) * width;
      const Output<T> o{.out = out,
                        .stride = width,
                        .lanes = width,
                        .init = fresh ? nullptr : out,
                        .init_stride = width,
                        .prefetch = queue.next(walk.images * walk.rows * walk.cols)};
      outer_function<T>(count, panel.vectors)(a + r, b, walk, o);
    });
  };
  const index row_step = conv.ow * panel.dy_step;
  const index walks = div_up(group.rows.size(), plan.walk_rows);
  for (index w = 0; w < walks; ++w) {
    const Range part_rows = part_of(group.rows.size(), walks, w);
    for (index block = 0; block < shape.blocks() * conv.kh; ++block) {
      const index c = block / conv.kh * kBlock, u = block % conv.kh;
      // Output rows whose input row i*stride + shift exists.
      const index shift = u - conv.pad_top;
      const index from = group.rows.begin + part_rows.begin, to = group.rows.begin + part_rows.end;
      const index begin = clamp_to(-div_floor(shift, conv.stride), from, to);
      const index end = clamp_to(div_floor(conv.h - 1 - shift, conv.stride) + 1, begin, to);
      const Walk walk{.images = group.images,
                      .a_image = group.tile_image,
                      .b_image = group.rows.size() * row_step,
                      .rows = end - begin,
                      .a_row = conv.stride * shape.row_step(),
                      .b_row = row_step,
                      .cols = conv.ow,
                      .a_col = kBlock,
                      .b_col = panel.dy_step};
      const index row = begin < end ? begin * conv.stride + shift - group.tile_row : 0;
      const T* a = group.tile + row * shape.row_step() + c / kBlock * shape.block_step();
      const T* b = panel.dy + (begin - group.rows.begin) * row_step;
      const index channels = smaller(kBlock, conv.c - c);
      // The taps of a phase in one run if their rows are contiguous in the tile.
      for (index phase = 0; phase < shape.phases; ++phase) {
        const index taps = taps_of_phase(conv, phase), runs = channels == kBlock ? 1 : taps;
        for (index run = 0; run < runs; ++run) {
          const index v = phase + run * conv.stride, first = weight_row(conv, u, v, c);
          add(a + shape.column(v), b, walk, {first, first + taps / runs * channels},
              group.first && w == 0);
        }
      }
    }
  }
}

// ---- the sums of all partitions

// db = Σ partials[split, o], with o padded to whole vectors.
template <class T>
void add_bias_partials(index k, index splits, const T* partials, T* db) {
  for (index o = 0; o < k; ++o) {
    T sum = 0;
    for (index split = 0; split < splits; ++split)
      sum += partials[split * round_up(k, kLanes<T>) + o];
    db[o] = sum;
  }
}

// dw = Σ partials[split, panel, row, lane]. A task takes a block of channels, whose rows are
// contiguous in every partial result.
template <class T>
void add_weight_partials(const Conv& conv, index splits, const WeightOrder& order,
                         const T* partials, T* dw) {
  const Panels<T> panels{conv.k};
  const index taps = conv.kh * conv.kw, blocks = div_up(conv.c, kBlock);
  const index step = weight_rows(conv) * round_up(conv.k, kLanes<T>);
  parallel_for(panels.count() * blocks, [&](index task) {
    const index panel = task / blocks, first = task % blocks * kBlock;
    const index channels = smaller(kBlock, conv.c - first), width = panels.width(panel);
    const Scratch<T> sums(channels * taps * width);
    for (index t = 0; t < taps; ++t) {
      T* to = &sums[(order.mirrored ? taps - 1 - t : t) * width];
      for (index p = 0; p < channels; ++p) {
        const T* from = partials + panels.offset(panel, weight_rows(conv)) +
                        weight_row(conv, t / conv.kw, t % conv.kw, first + p) * width;
        for (index j = 0; j < width; j += kLanes<T>) {
          Vec<T> sum{};
          for (index split = 0; split < splits; ++split) sum += load(from + split * step + j);
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
void sum_pixels(const Conv& conv, const T* dy, T* of_image) {
  const index pixels = conv.oh * conv.ow;
  parallel_for(conv.n, [&](index b) {
    sum_rows(pixels, conv.k, dy + b * pixels * conv.k, of_image + b * conv.k);
  });
}

// ---- the whole

template <class T>
class WeightGradient {
 public:
  WeightGradient(const Conv& conv, const T* x, const T* dy, bool bias)
      : conv_(conv),
        x_(x),
        dy_(dy),
        bias_(bias),
        plan_(plan_weights<T>(conv)),
        panels_{conv.k},
        in_place_(conv.k % kLanes<T> == 0 && (panels_.count() == 1 || plan_.gather)),
        partials_(plan_.splits * plan_.partial()),
        bias_partials_(plan_.splits * plan_.columns) {}

  // dw in `order`, and db unless null.
  void run(const WeightOrder& order, T* dw, T* db) {
    parallel_for(plan_.splits * plan_.panel_groups, [&](index task) {
      const index split = task / plan_.panel_groups;
      const Range panels = part_of(panels_.count(), plan_.panel_groups, task % plan_.panel_groups);
      const Scratch<T> tile(plan_.images * tile_image());
      const index pixels = plan_.images * plan_.band_rows * conv_.ow;
      const Scratch<T> dy_panels(in_place_ ? 0 : pixels * panels.size() * panels_.kWidth);
      const Range groups = part_of(plan_.groups, plan_.splits, split);
      for (index i = groups.begin; i < groups.end; ++i) {
        const WeightGroup<T> group = read_group(i, i == groups.begin, tile.get());
        const T* dy = read_dy(i, group, panels, dy_panels.get());
        const bool again = i + 1 == groups.end && panels.end < panels_.count();
        PrefetchQueue queue = inputs_of(again ? groups.begin : i + 1);
        for (index p = panels.begin; p < panels.end; ++p) {
          add_panel(split, p, group, dy, queue);
          dy += in_place_ ? panels_.width(p)
                          : group.images * group.rows.size() * conv_.ow * panels_.width(p);
        }
      }
    });
    add_weight_partials(conv_, plan_.splits, order, partials_.get(), dw);
    if (db) add_bias_partials(conv_.k, plan_.splits, bias_partials_.get(), db);
  }

 private:
  // Elements of one image's tile.
  index tile_image() const {
    if (plan_.gather) return plan_.band_rows * gathered_columns(conv_) * conv_.kh * conv_.c;
    return smaller(conv_.h, (plan_.band_rows - 1) * conv_.stride + conv_.kh) *
           plan_.shape.row_step();
  }
  index first_image(index group) const {
    return plan_.bands > 1 ? group / plan_.bands : group * plan_.images;
  }

  // x of a group, copied to `tile`.
  WeightGroup<T> read_group(index i, bool first, T* tile) const {
    const index image = first_image(i), images = smaller(plan_.images, conv_.n - image);
    const Range rows = part_of(conv_.oh, plan_.bands, plan_.bands > 1 ? i % plan_.bands : 0);
    const index top = clamp_to(rows.begin * conv_.stride - conv_.pad_top, 0, conv_.h);
    const index bottom =
        clamp_to((rows.end - 1) * conv_.stride - conv_.pad_top + conv_.kh, top, conv_.h);
    for (index b = 0; b < images; ++b) {
      const T* from = x_ + (image + b) * conv_.h * conv_.w * conv_.c;
      T* const to = tile + b * tile_image();
      if (plan_.gather) {
        gather_columns(conv_, from, rows, to);
        continue;
      }
      for (index r = top; r < bottom; ++r)
        fill_tile_row(plan_.shape, from + r * conv_.w * conv_.c, conv_.w,
                      to + (r - top) * plan_.shape.row_step());
    }
    return {.images = images,
            .rows = rows,
            .tile_row = top,
            .tile = tile,
            .tile_image = tile_image(),
            .first = first};
  }
  // dy of a group from its first panel on: in place if its channels fill whole vectors and there is
  // one panel, or so few rows of the result (fewer than kFewChannels input channels) that copying costs
  // more than it saves; else packed.
  const T* read_dy(index i, const WeightGroup<T>& group, Range panels, T* packed) const {
    const T* dy = dy_ + (first_image(i) * conv_.oh + group.rows.begin) * conv_.ow * conv_.k;
    if (in_place_) return dy + panels.begin * panels_.kWidth;
    pack_columns(dy, group.images * group.rows.size() * conv_.ow, conv_.k, panels, packed);
    return packed;
  }
  // The inputs that this thread will probably read next: threads take neighbouring tasks.
  PrefetchQueue inputs_of(index group) const {
    PrefetchQueue queue;
    const index next = group * plan_.images;
    if (plan_.bands == 1 && next < conv_.n) {
      const index x_size = conv_.h * conv_.w * conv_.c, dy_size = conv_.oh * conv_.ow * conv_.k;
      const index count = smaller(plan_.images, conv_.n - next);
      queue.add(x_ + next * x_size, count * x_size);
      queue.add(dy_ + next * dy_size, count * dy_size);
    }
    return queue;
  }

  // Adds a group to panel p of a partition's partial result.
  void add_panel(index split, index p, const WeightGroup<T>& group, const T* dy,
                 PrefetchQueue& queue) const {
    const WeightPanel<T> panel{
        .vectors = panels_.vectors(p),
        .dy = dy,
        .dy_step = in_place_ ? conv_.k : panels_.width(p),
        .partial = partials_.get() + split * plan_.partial() + panels_.offset(p, plan_.rows),
        .column_sums = bias_partials_.get() + split * plan_.columns + p * panels_.kWidth};
    if (plan_.gather) return add_gathered(conv_, plan_, group, panel, queue);
    add_tiled(conv_, plan_, group, panel, queue);
    const index pixels = group.images * group.rows.size() * conv_.ow, step = panel.dy_step;
    for (index j = 0; bias_ && j < panel.width(); j += kLanes<T>) {
      const Vec<T> sum =
          sum_terms<Vec<T>>(pixels, [&](index i) { return load(dy + i * step + j); });
      T* const to = panel.column_sums + j;
      store<T>(to, group.first ? sum : load(to) + sum);
    }
  }

  const Conv& conv_;
  const T *x_, *dy_;
  bool bias_;
  WeightPlan plan_;
  Panels<T> panels_;
  bool in_place_;  // dy is not packed
  Scratch<T> partials_, bias_partials_;
};

template <class T>
void direct_weight_gradient(const Conv& conv, const Image<const T>& x, const T* dy, T* dw, T* db) {
  const index taps = conv.kh * conv.kw;
  if (is_pointwise(conv)) {
    x.for_arrays({0, conv.c}, [&](Range segment) {
      const GemmShape g{.m = conv.k,
                        .n = segment.size(),
                        .k = conv.n * conv.h * conv.w,
                        .transpose_a = true,
                        .lda = conv.k,
                        .ldb = segment.size(),
                        .ldc = conv.c};
      gemm_columns(g, dy, x.at(0, segment.begin), dw + segment.begin,
                   segment.begin == 0 ? db : nullptr);
    });
    return;
  }
  if (conv.stride == 1 && conv.k < kLanes<T> / 2 && conv.k < conv.c) {
    // So few output channels leave most lanes empty. The sum is symmetric: with x and dy exchanged
    // and the taps mirrored, the lanes are the input channels.
    const Conv adjoint = adjoint_of(conv);
    const WeightOrder order{.out = taps, .in = conv.c * taps, .mirrored = true};
    WeightGradient<T>(adjoint, dy, x.main, false).run(order, dw, nullptr);
    if (db) sum_rows(conv.n * conv.oh * conv.ow, conv.k, dy, db);
    return;
  }
  WeightGradient<T>(conv, x.main, dy, db != nullptr)
      .run({.out = conv.c * taps, .in = taps, .mirrored = false}, dw, db);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
