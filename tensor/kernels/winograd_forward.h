// Convolutions by F(4x4, 3x3), see winograd_transforms.h: 36 multiplications per 4x4 outputs and
// pair of channels, where the direct sum has 144.
//
// The sum over input channels commutes with Aᵀ, so for each of the 36 points the work is one matrix
// product [tiles, c] x [c, k], by the same micro-kernel as all others:
//     x --Bᵀ·B--> V[36][tiles, c],   w --G·Gᵀ--> U[36][c, k],
//     M[36] = V[36] U[36],           M --Aᵀ·A--> y.
// A convolution of an upsampled input becomes one by 2x2 taps, F(5x5, 2x2), see winograd_images.h.
// The gradients are in winograd_backward.h.
//
// The price is rounding: in f32, a relative error of about 1e-6 where the direct sum has half of
// that, or, for the gradient of an upsampled input, a quarter (docs/performance.md has the table,
// tests/kernels/conv_test.cpp holds it).
#pragma once
#include "tensor/kernels/conv_input.h"
#include "tensor/kernels/winograd_filters.h"
#include "tensor/kernels/winograd_passes.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// ---- V

// A window of an image, in blocks.
template <class T>
void read_blocks(const TiledImage& tiled, const T* image, const Window& window, T* to) {
  const index padded = round_up(tiled.channels, kLanes<T>);
  for (index r = window.top; r < window.top + window.rows; ++r) {
    for (index c = window.left; c < window.left + window.cols; ++c, to += window.step) {
      for (index phase = 0; phase < 4; ++phase) {
        const index row = 2 * r - 1 + phase / 2, col = 2 * c - 1 + phase % 2;
        T* const pixel = to + phase * padded;
        if (row < 0 || row >= tiled.rows || col < 0 || col >= tiled.cols) {
          zero(pixel, padded);
          continue;
        }
        const T* from = image + (row * tiled.cols + col) * tiled.channels;
        for_vectors<T>(tiled.channels,
                       [&](index i, auto lanes) { store<T>(pixel + i, load(from + i, lanes)); });
      }
    }
  }
}

template <class T>
void winograd_inputs(const WinogradInput<T>& input, const WinogradBlock& b, Range images,
                     Range tile_rows, const TileLayout& layout, T* v) {
  constexpr index kL = kLanes<T>;
  const Conv& conv = input.conv;
  const WinogradPlan& plan = input.plan;
  const index pitch = tile_pitch(conv), more = conv.kh - 1;
  const index step = round_up(conv.c, kL), cols = pitch * plan.tiles_w + more;
  Prologue<T> prologue(conv, input.in);
  const Scratch<T> scratch((pitch * plan.most_rows() + more) * cols * step);
  T* const pixels = scratch.get();
  const Window window{.top = pitch * tile_rows.begin - conv.pad_top,
                      .rows = pitch * tile_rows.size() + more,
                      .left = -conv.pad_left,
                      .cols = cols,
                      .step = step};
  for (index image = images.begin; image < images.end; ++image) {
    if (input.measure) prologue.measure(conv, image);
    prologue.set_image(image);
    if (input.tiled.blocks) {
      read_blocks(input.tiled, input.in.x + image * input.tiled.size(), window, pixels);
    } else {
      read_window(conv, prologue, image, window, pixels);
    }
    plan.for_tiles(b, tile_rows, image, [&](index tr, index tc, const WinogradTile& t) {
      const T* corner = pixels + pitch * ((tr - tile_rows.begin) * cols + tc) * step;
      const TilePoints<T> to(v, b.offsets(t), layout.tile, layout.point);
      // Not inlined: the seven sizes in one function would share, and spill, its registers.
      t.with_size([&](auto size) __attribute__((noinline)) {
        for (index c = 0; c < step; c += kL) {
          const T* const d = corner + c;
          const auto pixel = [=](int i, int j) __attribute__((always_inline)) {
            return load(d + i * (cols * step) + j * step);
          };
          transform_2d<InputTransform<T, size.kRows>, InputTransform<T, size.kCols>, Vec<T>>(
              ElementSource{pixel},
              PointWriter<T, size.kCols>(to.moved(c / kBlock * layout.block + c % kBlock)));
        }
      });
    });
  }
}

// ---- y

// Where y goes, and its epilogue (ConvOutput: bias, embedding, residual).
template <class T>
struct WinogradOutput {
  const Conv& conv;
  const WinogradPlan& plan;
  TiledImage tiled;
  ConvOutput<T> out;
  bool streamed;
};

// The part of the epilogue that is the same for all pixels of an image: bias + embedding.
template <class T>
[[gnu::always_inline]] inline Vec<T> load_shift(const ConvOutput<T>& out, index embedding,
                                                index channel, Tail tail) {
  Vec<T> shift = {};
  if (out.bias) shift = load(out.bias + channel, tail);
  if (out.per_image) shift += load(out.per_image + embedding + channel, tail);
  return shift;
}

// Adds the residual to those pixels of a tile, [rows][cols][vectors], that lie inside the image, and stores them to y.
template <class T>
[[gnu::noinline]] void store_inside(const WinogradOutput<T>& output, const TilePixels& area,
                                    index corner, const Vec<T>* tile, index tile_cols,
                                    index vectors, Tail tail) {
  const ConvOutput<T>& out = output.out;
  const PixelSteps step = output.tiled.steps(area);
  for (index i = area.rows.begin; i < area.rows.end; ++i) {
    for (index j = area.cols.begin; j < area.cols.end; ++j) {
      for (index n = 0; n < vectors; ++n) {
        const index to = corner + i * step.row + j * step.col + n * kLanes<T>;
        Vec<T> y = tile[(i * tile_cols + j) * vectors + n];
        if (out.residual) y += load(out.residual + to, tail);
        output.streamed ? stream(out.y + to, y) : store<T>(out.y + to, y, tail);
      }
    }
  }
}

// y for one panel of M[point][tile][width].
template <class T, int Taps>
void winograd_outputs(const WinogradOutput<T>& output, const WinogradBlock& b, const T* m,
                      index m_point, index p) {
  constexpr int kPitch = 7 - Taps, kL = kLanes<T>;
  const Panels<T> panels{output.conv.k};
  const TiledImage& tiled = output.tiled;
  const index k = tiled.channels, width = panels.width(p), first = p * panels.kWidth;
  // Of a pixel at a time: what is streamed is a whole cache line, and no column is then a tail.
  // (The first test makes it a constant where a line is one vector: 3 % less code with AVX-512.)
  const index vectors = kStreamVectors > 1 && output.streamed ? kStreamVectors : 1;
  for (index image = b.image; image < b.image + b.images; ++image) {
    output.plan.for_tiles(b, image, [&](index tr, index tc, const WinogradTile& t) {
      const TilePoints<const T> points(m, b.offsets(t), width, m_point);
      t.with_size([&](auto size) {
        using Columns = OutputTransform<T, size.kRows, Taps>;
        using Rows = OutputTransform<T, size.kCols, Taps>;
        tiled.for_vectors<T>(
            {first, first + panels.lanes(p)}, vectors, [&](index column, index channel, Tail tail) {
              const TilePixels area =
                  tiled.pixels<T>(kPitch * tr, kPitch * tc, Columns::kOut, Rows::kOut, column);
              const index corner = tiled.at(image, area) + channel;
              // A tile at an edge, of a tail, or of several vectors is stored by way of `tile`.
              Vec<T> tile[Columns::kOut * Rows::kOut * kStreamVectors];
              const bool direct =
                  vectors == 1 && tail.count == kL && area.whole(Columns::kOut, Rows::kOut);
              T* const y = direct ? output.out.y + corner : reinterpret_cast<T*>(tile);
              const T* const residual =
                  direct && output.out.residual ? output.out.residual + corner : nullptr;
              const bool streamed = direct && output.streamed;
              const PixelSteps step =
                  direct ? tiled.steps(area) : PixelSteps{Rows::kOut * vectors * kL, vectors * kL};
              for (index n = 0; n < vectors; ++n) {
                const Vec<T> shift = load_shift(output.out, image * k, channel + n * kL, tail);
                const auto put = [&](int i, const Vec<T>(&o)[Rows::kOut]) {
#pragma GCC unroll 6
                  for (int j = 0; j < Rows::kOut; ++j) {
                    const index to = i * step.row + j * step.col + n * kL;
                    Vec<T> v = o[j] + shift;
                    if (residual) v += load(residual + to);
                    streamed ? stream(y + to, v) : store<T>(y + to, v);
                  }
                };
                transform_2d<Columns, Rows, Vec<T>>(
                    PointReader<T>(points.moved(column - first + n * kL)), RowSink{put});
              }
              if (!direct) store_inside<T>(output, area, corner, tile, Rows::kOut, vectors, tail);
            });
      });
    });
  }
  if (output.streamed) finish_streams();
}

// ---- M and the whole

template <class T>
class WinogradForward {
 public:
  explicit WinogradForward(const WinogradJob<T>& job)
      : job_(job),
        panels_{job.conv.k},
        split_filters_(winograd_splits_filters<T>(job.conv)),
        measure_(job.measure),
        plan_(plan_winograd(job.conv, winograd_tiles<T>(round_up(job.conv.c, kBlock)), 1,
                            wanted_tasks())) {}

  void run() {
    if (measure_ && (split_filters_ || plan_.bands > 1)) {
      group_norm_statistics(norm_of(job_.conv, job_.in), image_of(job_.conv, job_.in), job_.in.mean,
                            job_.in.rstd);
      measure_ = false;
    }
    split_filters_ ? run_by_filters() : run_by_tiles();
  }

 private:
  index wanted_tasks() const {
    if (inside_task()) return 1;
    return split_filters_ ? div_up(thread_count(), panels_.count()) : kTasks / 2;
  }
  TileLayout layout(const WinogradBlock& b) const {
    return blocked_layout<T>(b.tiles, job_.conv.c);
  }

  // A task makes V of a block and multiplies it by all filters.
  void run_by_tiles() const {
    parallel_for(plan_.blocks, [&](index task) {
      const WinogradBlock b = plan_.block(job_.conv, task);
      const Scratch<T> v(kPoints * layout(b).point);
      transform(b, b.rows, v.get());
      multiply(b, v.get(), {0, panels_.count()});
    });
  }
  // Tasks make V of all blocks together; then each multiplies a block by one panel of filters.
  void run_by_filters() const {
    const index depth = round_up(job_.conv.c, kBlock), rows = plan_.tiles_h;
    const index v_size = kPoints * point_step<T>(plan_.most_tiles() * depth);
    const Scratch<T> v(plan_.blocks * v_size);
    parallel_for(plan_.blocks * rows, [&](index task) {
      const WinogradBlock b = plan_.block(job_.conv, task / rows);
      const index row = task % rows;
      if (row >= b.rows.begin && row < b.rows.end)
        transform(b, {row, row + 1}, v.get() + task / rows * v_size);
    });
    parallel_for(panels_.count() * plan_.blocks, [&](index task) {
      const index p = task / plan_.blocks, block = task % plan_.blocks;
      multiply(plan_.block(job_.conv, block), v.get() + block * v_size, {p, p + 1});
    });
  }

  void transform(const WinogradBlock& b, Range tile_rows, T* v) const {
    const WinogradInput<T> input{.conv = job_.conv,
                                 .plan = plan_,
                                 .in = job_.in,
                                 .tiled = job_.in_tiled,
                                 .measure = measure_};
    winograd_inputs(input, b, b.all_images(), tile_rows, layout(b), v);
  }

  // M = V U and y, panel by panel.
  void multiply(const WinogradBlock& b, const T* v, Range some_panels) const {
    const Conv& conv = job_.conv;
    const TileLayout v_layout = layout(b);
    const PointPanels<T> u = filter_panels<T>(conv);
    const index m_point = point_step<T>(b.tiles * Panels<T>::kWidth);
    const index blocks = div_up(conv.c, kBlock);
    PrefetchQueue queue;
    prefetch(queue, b, {job_.out.residual, job_.out_tiled.channels});
    prefetch(queue, b, job_.prefetch);
    const Scratch<T> m(kPoints * m_point);
    const Scratch<Segment> segments(blocks);
    for (index i = 0; i < blocks; ++i)
      segments[i] = {i * v_layout.block, smaller(kBlock, conv.c - i * kBlock)};
    const Reduction channels{
        .rows = 1, .row_stride = 0, .segments = segments.get(), .count = blocks};
    const WinogradOutput<T> output{.conv = conv,
                                   .plan = plan_,
                                   .tiled = job_.out_tiled,
                                   .out = job_.out,
                                   .streamed = job_.streamed};
    const auto outputs = conv.kh == 2 ? winograd_outputs<T, 2> : winograd_outputs<T, 3>;
    for (index p = some_panels.begin; p < some_panels.end; ++p) {
      const index width = panels_.width(p), vectors = panels_.vectors(p);
      for (index point = 0; point < kPoints; ++point) {
        const T* panel = job_.filters + u.begin(p) + point * u.step(p);
        for_row_blocks(b.tiles_of(point), vectors, [&](index tile, index rows) {
          tile_function<T>(rows, vectors)(v + point * v_layout.point + tile * kBlock, channels,
                                          panel,
                                          Output<T>{.out = m.get() + point * m_point + tile * width,
                                                    .stride = width,
                                                    .lanes = width,
                                                    .prefetch = queue.next(conv.c)});
        });
      }
      outputs(output, b, m.get(), m_point, p);
    }
  }

  void prefetch(PrefetchQueue& queue, const WinogradBlock& b, const Image<const T>& images) const {
    if (images.main == nullptr || plan_.bands > 1) return;
    const index pixels = job_.out_tiled.rows * job_.out_tiled.cols;
    images.for_arrays({0, images.c}, [&](Range segment) {
      queue.add(images.at(b.image * pixels, segment.begin), b.images * pixels * segment.size());
    });
  }

  const WinogradJob<T>& job_;
  Panels<T> panels_;
  bool split_filters_, measure_;
  WinogradPlan plan_;
};

template <class T>
void winograd(const WinogradJob<T>& job) {
  WinogradForward<T>(job).run();
}

// ---- the functions of winograd.h

template <class T>
index winograd_conv_filters_size(const Conv& conv, bool upsample) {
  return winograd_filters_size<T>(winograd_conv<T>(conv, upsample).conv);
}

template <class T>
void winograd_conv_filters(const Conv& conv, bool upsample, const T* w, T* filters) {
  const Conv tiled = winograd_conv<T>(conv, upsample).conv;
  const index taps = tiled.kh * tiled.kw;
  const Scratch<T> folded(upsample ? tiled.k * tiled.c * taps : 0);
  if (upsample) fold_taps(conv, w, folded.get());
  winograd_filters(tiled, {.out = conv.c * taps, .in = taps, .mirrored = false},
                   upsample ? folded.get() : w, filters);
}

template <class T>
void winograd_conv_forward(const Conv& conv, const ConvInput<T>& in, const T* w,
                           const ConvOutput<T>& out, const T* filters) {
  const Scratch<T> made(filters ? 0 : winograd_conv_filters_size<T>(conv, in.upsample));
  if (!filters) winograd_conv_filters(conv, in.upsample, w, made.get());
  const WinogradConv tiled = winograd_conv<T>(conv, in.upsample);
  const index size = conv.n * conv.oh * conv.ow * conv.k;
  ConvInput<T> stored = in;
  stored.upsample = false;
  winograd<T>({.conv = tiled.conv,
               .in = stored,
               .in_tiled = {},
               .measure = in.groups > 0,
               .filters = filters ? filters : made.get(),
               .out = out,
               .out_tiled = tiled.out,
               .streamed = out.residual != out.y && streams(out.y, conv.k, size)});
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
