// The gradients of a convolution by F(4x4, 3x3). Of the weights, the adjoint of winograd.h, point
// by point:
//     dy --A·Aᵀ--> Z[36][tiles, k],   dU[36] = Σ_tiles V[36]ᵀ Z[36],   dU --Gᵀ·G--> dw.
// Of the input, the convolution of dy with the mirrored weights, then the adjoint of what ConvInput
// does on the way in.
#pragma once
#include "tensor/kernels/winograd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// A dy Aᵀ of one tile, for one vector of channels. Adds Σ dy to `total`. pixel(i, j): dy there.
template <class T, int Rows, int Cols, int Taps, class Pixel>
[[gnu::always_inline]] inline void winograd_gradient_tile(Pixel pixel, TilePoints<T> to,
                                                          Vec<T>& total) {
  constexpr int kRows = Rows + 1 - Taps, kCols = Cols + 1 - Taps;
  Vec<T> columns[6 * kCols];  // A dy
#pragma GCC unroll 6
  for (int j = 0; j < kCols; ++j) {
    Vec<T> y[kRows];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      y[i] = pixel(i, j);
      total += y[i];
    }
    transform_gradient<T, Rows, kRows>(y, columns + j, kCols);
  }
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
    if (has_point(Rows, i)) {
      Vec<T> y[kCols], z[6];
#pragma GCC unroll 6
      for (int j = 0; j < kCols; ++j) y[j] = columns[kCols * i + j];
      transform_gradient<T, Cols, kCols>(y, z, 1);
      store_points<T, Cols>(z, to);
    }
    to = to.moved(6 * to.point);
  }
}

// Z[panel][point][tile][width] for the tiles of one block; `grid`: how dy lies. bias[k] += Σ dy
// over it, and per_image [n, k], unless null, the sums over its images. `total`: scratch, as long
// as bias.
template <class T, int Taps>
void winograd_gradients(const Conv& s, const TiledImage& grid, const WinogradPlan& plan,
                        const WinogradBlock& b, const T* dy, T* z, T* total, T* bias,
                        T* per_image) {
  constexpr int kPitch = 7 - Taps;
  const Panels<T> panels{s.k};
  const PointPanels<T> z_panels{panels, b.tiles};
  const index k = grid.channels, across = kPitch * (grid.blocks ? 2 : 1);
  for (index image = b.image; image < b.image + b.images; ++image) {
    zero(total, round_up(k, kLanes<T>));
    plan.for_tiles(b, image, [&](index tr, index tc, const WinogradTile& t) {
      // The tile after this one: the hardware does not foresee pieces of a few rows.
      for (index r = across * tr; r < smaller(across * (tr + 1), grid.rows); ++r)
        prefetch(dy + ((image * grid.rows + r) * grid.cols + across * (tc + 1)) * k, across * k);
      const auto places = b.places(t);
      t.with_size([&](auto size) {
        constexpr int kRows = size.kRows + 1 - Taps, kCols = size.kCols + 1 - Taps;
        grid.for_vectors<T>({0, s.k}, [&](index o, index channel, Some lanes) {
          const index p = o / panels.kWidth, width = panels.width(p);
          const TilePoints<T> to(z + z_panels.begin(p), places, width, z_panels.step(p));
          const TilePixels area = grid.pixels<T>(kPitch * tr, kPitch * tc, kRows, kCols, o);
          const index corner =
              ((image * grid.rows + area.row) * grid.cols + area.col) * k + channel;
          const auto pixel = [&](int i, int j, auto extent) {
            return load(dy + (corner + (i * grid.cols + j) * area.scale * k), extent);
          };
          Vec<T> sum = load(total + channel);
          if (lanes.count == kLanes<T> && area.whole(kRows, kCols)) {
            winograd_gradient_tile<T, size.kRows, size.kCols, Taps>(
                [&](int i, int j) { return pixel(i, j, Full{}); }, to.moved(o % panels.kWidth),
                sum);
          } else {
            winograd_gradient_tile<T, size.kRows, size.kCols, Taps>(
                [&](int i, int j) { return area.has(i, j) ? pixel(i, j, lanes) : Vec<T>{}; },
                to.moved(o % panels.kWidth), sum);
          }
          store<T>(total + channel, sum);
        });
      });
    });
    for_vectors<T>(k, [&](index o, auto extent) {
      const Vec<T> sum = load(total + o);
      store<T>(bias + o, load(bias + o) + sum);
      if (per_image) store<T>(per_image + image * k + o, sum, extent);
    });
  }
}

// A block's sums dU[c][point][lane] of some channels and panel p, turned into taps and added to
// (`first`: stored to) part[panel][weight_row][width].
template <class T, int Taps>
void winograd_taps(const Conv& s, index p, Range channels, const T* sums, bool first, T* part) {
  constexpr int kL = kLanes<T>, kWidth = Panels<T>::kWidth;
  const Panels<T> panels{s.k};
  const index width = panels.width(p);
  T* const to = part + panels.offset(p, weight_rows(s));
  for (index c = channels.begin; c < channels.end; ++c, sums += kPoints * kWidth) {
    const index row = weight_row(s, 0, 0, c);
    const index down = weight_row(s, 1, 0, c) - row, right = weight_row(s, 0, 1, c) - row;
    for (index lane = 0; lane < width; lane += kL) {
      Vec<T> columns[6 * Taps];  // Gᵀ dU
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) {
        Vec<T> u[6], g[Taps];
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) u[i] = load(sums + (6 * i + j) * kWidth + lane);
        transform_filter_gradient<T>(u, g);
#pragma GCC unroll 3
        for (int i = 0; i < Taps; ++i) columns[6 * i + j] = g[i];
      }
#pragma GCC unroll 3
      for (int i = 0; i < Taps; ++i) {
        Vec<T> u[6], g[Taps];
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) u[j] = columns[6 * i + j];
        transform_filter_gradient<T>(u, g);
#pragma GCC unroll 3
        for (int j = 0; j < Taps; ++j) {
          T* const tap = to + (row + i * down + j * right) * width + lane;
          store<T>(tap, first ? g[j] : load(tap) + g[j]);
        }
      }
    }
  }
}

// One task's share of the weights' gradient: sums over consecutive blocks.
template <class T>
class WinogradWeights {
 public:
  // `part`, `bias`: where the taps (as add_up_weights reads them) and Σ dy go. `grid`: how dy lies.
  WinogradWeights(const Conv& s, const ConvInput<T>& in, const TiledImage& grid,
                  const WinogradPlan& plan, Range blocks, T* part, T* bias)
      : s_(s),
        in_(in),
        grid_(grid),
        plan_(plan),
        blocks_(blocks),
        part_(part),
        bias_(bias),
        norm_(s, in),
        sums_(kPoints * kBlock * Panels<T>::kWidth) {
    zero(bias, round_up(grid.channels, kLanes<T>));
  }

  // Block i; the one after it will probably be this thread's next. `seen`: its images as the
  // convolution sees them, [images, h, w, c], unless null.
  void add(index i, const T* dy, const T* seen, T* per_image) {
    const Panels<T> panels{s_.k};
    const WinogradBlock b = plan_.block(s_, i);
    ReadAhead ahead;
    if (i + 1 < plan_.blocks && plan_.bands == 1) {
      const WinogradBlock n = plan_.block(s_, i + 1);
      const index pixels = stored_pixels(s_, in_), dy_size = grid_.size();
      const Image<const T> x = image_of(s_, in_).from(n.image * pixels);
      x.parts({0, s_.c},
              [&](Range part) { ahead.add(x.at(0, part.begin), n.images * pixels * part.size()); });
      ahead.add(dy + n.image * dy_size, n.images * dy_size);
    }
    const index depth = round_up(s_.c, kBlock);
    const index tile = kManyRows ? depth : kBlock;
    const TileLayout layout{tile, kManyRows ? kBlock : b.tiles * kBlock,
                            point_step<T>(b.tiles * depth)};
    const Scratch<T> v(kPoints * layout.point);
    const PointPanels<T> z_panels{panels, b.tiles};
    const Scratch<T> z(z_panels.size());
    {
      const Scratch<T> window(window_size<T>(s_, plan_));
      if (seen) {
        const ConvInput<T> plain{seen};
        ReadNorm<T> copy(s_, plain);
        WinogradBlock first = b;
        first.image = 0;
        winograd_inputs(s_, plan_, first, first.rows, plain, {}, copy, false, layout, window.get(),
                        v.get());
      } else {
        winograd_inputs(s_, plan_, b, b.rows, in_, {}, norm_, false, layout, window.get(), v.get());
      }
    }
    {
      const Scratch<T> total(round_up(grid_.channels, kLanes<T>));
      const auto gradients = s_.kh == 2 ? winograd_gradients<T, 2> : winograd_gradients<T, 3>;
      gradients(s_, grid_, plan_, b, dy, z.get(), total.get(), bias_, per_image);
    }
    // The sums of a few channels at a time, over all points: they are turned into taps, a quarter
    // as many numbers, before they leave the cache.
    const auto taps = s_.kh == 2 ? winograd_taps<T, 2> : winograd_taps<T, 3>;
    for (index p = 0; p < panels.count(); ++p) {
      const index width = panels.width(p), vectors = panels.vectors(p);
      const auto add_channels = [&](index c, index channels) {
        for (index point = 0; point < kPoints; ++point) {
          const index tiles = b.tiles_of(point);
          const T* vp = v.get() + point * layout.point + c / kBlock * layout.block + c % kBlock;
          const T* zp = z.get() + z_panels.begin(p) + point * z_panels.step(p);
          const Walk walk = straight(tiles, tile, width);
          // To fetch meanwhile. Later blocks of a point: the next point's V and dy, each too short
          // for the hardware to foresee.
          const auto soon = [&](index row, index rows) -> const void* {
            if (row == 0) return ahead.next(tiles);
            if (point + 1 == kPoints) return nullptr;
            return row + rows < channels ? vp + layout.point : zp + z_panels.step(p);
          };
          for_row_blocks(channels, vectors, [&](index row, index rows) {
            T* const sums = sums_.get() + (row * kPoints + point) * panels.kWidth;
            const Output<T> o{sums,  kPoints * panels.kWidth, width, nullptr, 0,
                              false, soon(row, rows)};
            outer_function<T>(rows, vectors)(vp + row, zp, walk, o);
          });
        }
        taps(s_, p, {c, c + channels}, sums_.get(), i == blocks_.begin, part_);
      };
      if constexpr (kManyRows) {
        for_row_blocks(s_.c, vectors, add_channels);
      } else {
        for (index c = 0; c < s_.c; c += kBlock) add_channels(c, smaller(kBlock, s_.c - c));
      }
    }
  }

 private:
  // With many registers, a block of them takes as many channels as it can hold, from all of a
  // tile's, side by side. With few, several blocks share the channels of one kBlock, which lie tile
  // after tile: they and dy's are read from the first-level cache again (a tenth of the time).
  static constexpr bool kManyRows = kRegisters == 32;

  const Conv& s_;
  const ConvInput<T>& in_;
  TiledImage grid_;
  const WinogradPlan& plan_;
  Range blocks_;
  T *part_, *bias_;
  ReadNorm<T> norm_;
  Scratch<T> sums_;
};

// The gradient of the input: du, of what the convolution saw, and through the normalisation dx.
template <class T>
class WinogradInputGradient {
 public:
  WinogradInputGradient(const Conv& s, const ConvInput<T>& in, const TiledImage& grid, const T* dy,
                        const T* w, const ConvGradients<T>& g)
      : in_(in),
        grid_(grid),
        dy_(dy),
        g_(g),
        norm_(norm_of(s, in)),
        x_(image_of(s, in)),
        dx_(gradient_of(s, in, g)),
        add_(added_of(s, in, g)),
        direct_(in.groups == 0 && in.beside_c == 0),
        turned_(adjoint_of(s)),
        streamed_(g.dx && streams(dx_, add_, s.n * norm_.hw)),
        filters_(g.dx ? winograd_filters_size<T>(turned_) : 0) {
    const index taps = s.kh * s.kw;
    if (g.dx) winograd_filters(turned_, {taps, s.c * taps, true}, w, filters_.get());
  }

  // All images, one pass after the other.
  void all() const {
    if (direct_) return convolve({0, norm_.n}, g_.add, g_.dx, streamed_);
    const Scratch<T> du(norm_.n * norm_.hw * norm_.c);
    convolve({0, norm_.n}, nullptr, du.get(),
             streams(du.get(), norm_.c, norm_.n * norm_.hw * norm_.c));
    if (in_.groups == 0) {
      parallel_for(norm_.n,
                   [&](index image) { place(image, du.get() + image * norm_.hw * norm_.c); });
    } else {
      SFUMATO_ISA_NAME::group_norm_backward(norm_, x_, in_.gamma, in_.beta, in_.mean, in_.rstd,
                                            du.get(), add_, dx_, g_.dgamma, g_.dbeta);
    }
  }
  // In a task: some images, and their sums for add_up_norm. `seen`, unless null: becomes the images
  // as the convolution sees them, where they are normalised.
  void some(Range images, bool first, T* sums, T* seen) const {
    const index size = norm_.hw * norm_.c;
    if (direct_) {
      const index at = images.begin * size;
      return convolve(images, g_.add ? g_.add + at : nullptr, g_.dx + at, streamed_);
    }
    const index step = winograd_images<T>(turned_);
    const Scratch<T> du(step * size), work(4 * norm_.c);
    for (index b = images.begin; b < images.end; b += step) {
      const Range block{b, smaller(b + step, images.end)};
      convolve(block, nullptr, du.get(), false, x_.from(b * norm_.hw));
      for (index image = block.begin; image < block.end; ++image) {
        const index pixel = image * norm_.hw;
        T* const dz = du.get() + (image - b) * size;
        if (in_.groups == 0) {
          place(image, dz);
          continue;
        }
        group_norm_backward_image(norm_, {0, norm_.c}, x_.from(pixel), in_.gamma, in_.beta,
                                  in_.mean + image * in_.groups, in_.rstd + image * in_.groups, dz,
                                  dz, work.get(),
                                  {dx_.from(pixel), add_.from(pixel), streamed_, sums,
                                   sums + norm_.c, first && image == images.begin,
                                   seen ? seen + (image - images.begin) * size : nullptr});
      }
    }
    if (streamed_) finish_streams();
  }

 private:
  void convolve(Range images, const T* add, T* du, bool streamed,
                const Image<const T>& later = {}) const {
    Conv s = turned_;
    s.n = images.size();
    winograd(s, ConvInput<T>{dy_ + images.begin * grid_.size()}, grid_, filters_.get(),
             ConvOutput<T>{du, nullptr, nullptr, add}, {s.oh, s.ow, s.k}, false, streamed, later);
  }
  void place(index image, const T* du) const {
    const index pixel = image * norm_.hw;
    place_gradient(du, norm_.hw, add_.from(pixel), dx_.from(pixel));
  }

  const ConvInput<T>& in_;
  TiledImage grid_;
  const T* dy_;
  const ConvGradients<T>& g_;
  GroupNorm norm_;
  Image<const T> x_;
  Image<T> dx_;
  Image<const T> add_;
  bool direct_;  // du is dx
  Conv turned_;
  bool streamed_;
  Scratch<T> filters_;
};

// `saw`: the convolution as its caller sees it. Images are cut into chunks, each with its own sums,
// added up in order at the end. As long as blocks are whole images, the gradients of a block's
// input and weights follow one another: what the one read of dy and x, the other finds in the
// cache, and du never leaves it. (The weights come last because they fetch the next block
// meanwhile.)
template <class T>
void winograd_backward(const Conv& saw, const ConvInput<T>& from, const T* dy, const T* w,
                       const ConvGradients<T>& g) {
  const WinogradConv conv = winograd_conv<T>(saw, from.upsample);
  const Conv& s = conv.s;
  const TiledImage& grid = conv.out;
  const bool folds = from.upsample;
  const index taps = s.kh * s.kw, folded_size = folds ? s.k * s.c * taps : 0;
  const Scratch<T> folded(folded_size), dfolded(g.dw ? folded_size : 0);
  if (folds) fold_taps(saw, w, folded.get());
  ConvInput<T> in = from;
  in.upsample = false;

  const index columns = round_up(s.k, kLanes<T>), bias_columns = round_up(grid.channels, kLanes<T>);
  const index tiles = s.n * tiles_per_image(s);
  const WinogradPlan plan =
      plan_winograd(s, winograd_weight_tiles<T>(round_up(s.c, kBlock), columns),
                    smaller(32, tiles / 8), inside_task() ? 1 : kTasks / 2);
  const index part = weight_rows(s) * columns, chunks = smaller(plan.blocks, kTasks / 2);
  const Scratch<T> parts(g.dw ? chunks * part : 0), bias_parts(g.dw ? chunks * bias_columns : 0);
  const Scratch<T> norm_parts(in.groups > 0 ? chunks * 2 * s.c : 0);
  const WinogradInputGradient<T> input(s, in, grid, dy, folds ? folded.get() : w, g);
  const auto input_of = [&](index chunk, index i, bool first, T* seen) {
    const WinogradBlock b = plan.block(s, i);
    input.some({b.image, b.image + b.images}, first, norm_parts.get() + chunk * 2 * s.c, seen);
  };
  const bool whole_images = plan.bands == 1, together = g.dx && whole_images;
  // (Up to rounding what the forward convolution saw.)
  const bool keeps_seen = together && g.dw && in.groups > 0;
  if (g.dw || together) {
    parallel_for(chunks, [&](index chunk) {
      const Range blocks = part_of(plan.blocks, chunks, chunk);
      if (!g.dw) {
        for (index i = blocks.begin; i < blocks.end; ++i)
          input_of(chunk, i, i == blocks.begin, nullptr);
        return;
      }
      WinogradWeights<T> weights(s, in, grid, plan, blocks, parts.get() + chunk * part,
                                 bias_parts.get() + chunk * bias_columns);
      const Scratch<T> seen(keeps_seen ? plan.images * s.h * s.w * s.c : 0);
      T* const kept = keeps_seen ? seen.get() : nullptr;
      for (index i = blocks.begin; i < blocks.end; ++i) {
        if (together) input_of(chunk, i, i == blocks.begin, kept);
        weights.add(i, dy, kept, whole_images ? g.per_image : nullptr);
      }
    });
  }
  if (g.dw) {
    add_up_weights(s, chunks, {s.c * taps, taps, false}, parts.get(), folds ? dfolded.get() : g.dw);
    if (folds) unfold_taps(saw, dfolded.get(), g.dw);
    if (g.db) add_up_bias(saw.k, chunks, bias_parts.get(), g.db);
  }
  if (g.per_image && !(g.dw && whole_images)) sum_pixels(saw, dy, g.per_image);
  if (together && in.groups > 0) add_up_norm(s.c, chunks, norm_parts.get(), g.dgamma, g.dbeta);
  if (g.dx && !together) input.all();
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
