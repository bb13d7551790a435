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

// Z[panel][point][tile][width] for some images of a block; `grid`: how dy lies. bias[k] += Σ dy
// over them, and per_image [n, k], unless null, becomes the sum of each image. `total`: scratch, as
// long as bias.
template <class T, int Taps>
void winograd_gradients(const Conv& s, const TiledImage& grid, const WinogradPlan& plan,
                        const WinogradBlock& b, Range images, const T* dy, T* z, T* total, T* bias,
                        T* per_image) {
  constexpr int kPitch = 7 - Taps;
  const Panels<T> panels{s.k};
  const PointPanels<T> z_panels{panels, b.tiles};
  const index k = grid.channels, across = kPitch * (grid.blocks ? 2 : 1);
  for (index image = images.begin; image < images.end; ++image) {
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

// With many registers, a block of them takes as many channels as it can hold, from all of a tile's,
// side by side. With few, several blocks share the channels of one kBlock, which lie tile after
// tile: they and dy's are read from the first-level cache again (a tenth of the time).
inline constexpr bool kManyRows = kRegisters == 32;

// V and Z of a block, and dU, their product.
template <class T>
class WinogradFactors {
 public:
  // `in`, `grid`: how x and dy lie. `side_by_side`: a tile's channels are neighbours in V, all of
  // them, not only those of one kBlock.
  WinogradFactors(const Conv& s, const ConvInput<T>& in, const TiledImage& grid,
                  const WinogradPlan& plan, const WinogradBlock& block, bool side_by_side)
      : s_(s),
        in_(in),
        grid_(grid),
        plan_(plan),
        block_(block),
        layout_{side_by_side ? round_up(s.c, kBlock) : kBlock,
                side_by_side ? kBlock : block.tiles * kBlock,
                point_step<T>(block.tiles * round_up(s.c, kBlock))},
        z_panels_{{s.k}, block.tiles},
        v_(kPoints * layout_.point),
        z_(z_panels_.size()) {}

  // Those of some images. `seen`: these images as the convolution sees them, [images, h, w, c],
  // unless null. bias and per_image: see winograd_gradients.
  void make(Range images, ReadNorm<T>& norm, const T* dy, const T* seen, T* bias, T* per_image) {
    {
      const Scratch<T> window(window_size<T>(s_, plan_));
      if (seen) {
        const ConvInput<T> plain{seen};
        ReadNorm<T> copy(s_, plain);
        WinogradBlock from_seen = block_;
        from_seen.image -= images.begin;
        winograd_inputs(s_, plan_, from_seen, {0, images.size()}, block_.rows, plain, {}, copy,
                        false, layout_, window.get(), v_.get());
      } else {
        winograd_inputs(s_, plan_, block_, images, block_.rows, in_, {}, norm, false, layout_,
                        window.get(), v_.get());
      }
    }
    const Scratch<T> total(round_up(grid_.channels, kLanes<T>));
    const auto gradients = s_.kh == 2 ? winograd_gradients<T, 2> : winograd_gradients<T, 3>;
    gradients(s_, grid_, plan_, block_, images, dy, z_.get(), total.get(), bias, per_image);
  }

  // The taps of some channels and panel p, stored to `part` or (not `first`) added. A few channels
  // at a time, over all points: their sums are turned into taps, a quarter as many numbers, before
  // they leave the cache.
  void multiply(index p, Range channels, ReadAhead& ahead, bool first, T* part) const {
    const Panels<T> panels = z_panels_.panels;
    const index width = panels.width(p), vectors = panels.vectors(p);
    const Scratch<T> sums(kPoints * kBlock * panels.kWidth);
    const auto taps = s_.kh == 2 ? winograd_taps<T, 2> : winograd_taps<T, 3>;
    const auto some = [&](index c, index count) {
      for (index point = 0; point < kPoints; ++point) {
        const index tiles = block_.tiles_of(point);
        const T* vp = v_.get() + point * layout_.point + c / kBlock * layout_.block + c % kBlock;
        const T* zp = z_.get() + z_panels_.begin(p) + point * z_panels_.step(p);
        const Walk walk = straight(tiles, layout_.tile, width);
        // To fetch meanwhile. Later blocks of a point: the next point's V and dy, each too short
        // for the hardware to foresee.
        const auto soon = [&](index row, index rows) -> const void* {
          if (row == 0) return ahead.next(tiles);
          if (point + 1 == kPoints) return nullptr;
          return row + rows < count ? vp + layout_.point : zp + z_panels_.step(p);
        };
        for_row_blocks(count, vectors, [&](index row, index rows) {
          T* const to = sums.get() + (row * kPoints + point) * panels.kWidth;
          const Output<T> o{to, kPoints * panels.kWidth, width, nullptr, 0, false, soon(row, rows)};
          outer_function<T>(rows, vectors)(vp + row, zp, walk, o);
        });
      }
      taps(s_, p, {c, c + count}, sums.get(), first, part);
    };
    if (layout_.tile > kBlock) {
      for_row_blocks(channels.size(), vectors,
                     [&](index row, index count) { some(channels.begin + row, count); });
    } else {
      for (index c = channels.begin; c < channels.end; c += kBlock)
        some(c, smaller(kBlock, channels.end - c));
    }
  }

 private:
  const Conv& s_;
  const ConvInput<T>& in_;
  TiledImage grid_;
  const WinogradPlan& plan_;
  const WinogradBlock block_;
  TileLayout layout_;
  PointPanels<T> z_panels_;
  Scratch<T> v_, z_;
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

// Whether V and Z of all tiles are less than twice the sums of kTasks / 2 chunks (at that factor
// the two ways took the same time), and likely to stay in the last cache.
template <class T>
bool few_winograd_tiles(const Conv& s) {
  constexpr index kMost = (32 << 20) / static_cast<index>(sizeof(T));
  const index factors = kPoints * s.n * tiles_per_image(s) * (s.c + s.k);
  return factors <= smaller(kTasks * s.kh * s.kw * s.c * s.k, kMost);
}

// What block `next` reads, if there is one.
template <class T>
ReadAhead ahead_of(const Conv& s, const ConvInput<T>& in, const TiledImage& grid,
                   const WinogradPlan& plan, index next, const T* dy) {
  ReadAhead ahead;
  if (next >= plan.blocks || plan.bands > 1) return ahead;
  const WinogradBlock n = plan.block(s, next);
  const index pixels = stored_pixels(s, in), dy_size = grid.size();
  const Image<const T> x = image_of(s, in).from(n.image * pixels);
  x.parts({0, s.c},
          [&](Range part) { ahead.add(x.at(0, part.begin), n.images * pixels * part.size()); });
  ahead.add(dy + n.image * dy_size, n.images * dy_size);
  return ahead;
}

// `saw`: the convolution as its caller sees it. The gradients of an image's input and weights
// follow one another: what the one read of dy and x, the other finds in the cache, and du never
// leaves it. (Single images that must be cut, or few small ones, are gone over twice.) Weights, in
// one of two ways:
//   - Images are cut into chunks, each with its own sums, added up in order at the end.
//   - Where there are few tiles for so many weights, V and Z of all images are hardly more than
//     those sums: they are made first, then multiplied, cut by channels and filters.
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

  const Panels<T> panels{s.k};
  const index columns = round_up(s.k, kLanes<T>), bias_columns = round_up(grid.channels, kLanes<T>);
  const index tiles = s.n * tiles_per_image(s);
  const bool few_tiles = few_winograd_tiles<T>(s);
  WinogradPlan plan =
      plan_winograd(s, winograd_weight_tiles<T>(round_up(s.c, kBlock), columns),
                    few_tiles ? 1 : smaller(32, tiles / 8), inside_task() ? 1 : kTasks / 2);
  const bool together = g.dx && plan.bands == 1 && !shares_filters<T>(adjoint_of(s));
  if (few_tiles && plan.bands > 1) plan = plan.of_images(s.n, 1);
  const bool whole_images = plan.bands == 1;
  // (Up to rounding what the forward convolution saw.)
  const bool keeps_seen = together && g.dw && in.groups > 0;
  const index chunks = smaller(plan.blocks, kTasks / 2);
  const index part = weight_rows(s) * columns, parts_kept = few_tiles ? 1 : chunks;
  const Scratch<T> parts(g.dw ? parts_kept * part : 0),
      bias_parts(g.dw ? chunks * bias_columns : 0);
  const Scratch<T> norm_parts(in.groups > 0 ? chunks * 2 * s.c : 0);
  const WinogradInputGradient<T> input(s, in, grid, dy, folds ? folded.get() : w, g);
  // f(block, whether it is the chunk's first, seen) for a chunk's blocks, after the gradient of
  // their input.
  const auto for_blocks = [&](index chunk, auto&& f) {
    const Range blocks = part_of(plan.blocks, chunks, chunk);
    const Scratch<T> seen(keeps_seen ? plan.images * s.h * s.w * s.c : 0);
    T* const kept = keeps_seen ? seen.get() : nullptr;
    for (index i = blocks.begin; i < blocks.end; ++i) {
      if (together)
        input.some(plan.block(s, i).all_images(), i == blocks.begin,
                   norm_parts.get() + chunk * 2 * s.c, kept);
      f(i, i == blocks.begin, kept);
    }
  };
  T* const per_image = whole_images ? g.per_image : nullptr;
  const auto bias_of = [&](index chunk) { return bias_parts.get() + chunk * bias_columns; };
  if (g.dw) zero(bias_parts.get(), chunks * bias_columns);
  if (g.dw && few_tiles) {
    const WinogradPlan one_block = plan.of_images(s.n, s.n);
    // (Tasks take channels by whole kBlocks: those of a tile need not lie side by side.)
    WinogradFactors<T> factors(s, in, grid, one_block, one_block.block(s, 0), false);
    parallel_for(chunks, [&](index chunk) {
      ReadNorm<T> norm(s, in);
      for_blocks(chunk, [&](index i, bool, const T* seen) {
        factors.make(plan.block(s, i).all_images(), norm, dy, seen, bias_of(chunk), per_image);
      });
    });
    const index blocks = div_up(s.c, kBlock);
    const index groups = smaller(blocks, div_up(kTasks / 2, panels.count()));
    parallel_for(panels.count() * groups, [&](index task) {
      const Range some = part_of(blocks, groups, task % groups);
      ReadAhead nothing;
      factors.multiply(task / groups, {some.begin * kBlock, smaller(some.end * kBlock, s.c)},
                       nothing, true, parts.get());
    });
  } else if (g.dw) {
    parallel_for(chunks, [&](index chunk) {
      ReadNorm<T> norm(s, in);
      for_blocks(chunk, [&](index i, bool first, const T* seen) {
        const WinogradBlock b = plan.block(s, i);
        ReadAhead ahead = ahead_of(s, in, grid, plan, i + 1, dy);
        WinogradFactors<T> factors(s, in, grid, plan, b, kManyRows);
        factors.make(b.all_images(), norm, dy, seen, bias_of(chunk), per_image);
        for (index p = 0; p < panels.count(); ++p)
          factors.multiply(p, {0, s.c}, ahead, first, parts.get() + chunk * part);
      });
    });
  } else if (together) {
    parallel_for(chunks, [&](index chunk) { for_blocks(chunk, [](index, bool, const T*) {}); });
  }
  if (g.dw) {
    add_up_weights(s, parts_kept, {s.c * taps, taps, false}, parts.get(),
                   folds ? dfolded.get() : g.dw);
    if (folds) unfold_taps(saw, dfolded.get(), g.dw);
    if (g.db) add_up_bias(saw.k, chunks, bias_parts.get(), g.db);
  }
  if (g.per_image && !(g.dw && whole_images)) sum_pixels(saw, dy, g.per_image);
  if (together && in.groups > 0) add_up_norm(s.c, chunks, norm_parts.get(), g.dgamma, g.dbeta);
  if (g.dx && !together) input.all();
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
