// Convolutions by F(4x4, 3x3), see winograd_transforms.h: 36 multiplications per 4x4 outputs and
// pair of channels, where the direct sum has 144.
//
// The sum over input channels may be taken before Aᵀ, so for each of the 36 points the work is a
// matrix product [tiles, c] x [c, k], by the same micro-kernel as all others:
//     x --Bᵀ·B--> V[36][tiles, c],   w --G·Gᵀ--> U[36][c, k],   M[36] = V[36] U[36],   M --Aᵀ·A-->
//     y.
// What reads doubled pixels becomes a convolution by 2x2 taps, F(5x5, 2x2), see winograd_images.h.
// The gradients are in winograd_backward.h.
//
// The price is rounding: in f32, a relative error of about 1e-6 where the direct sum has half of
// that, or, for the gradient of doubled pixels, a quarter (docs/performance.md has the table,
// tests/kernels/conv_test.cpp holds it).
#pragma once
#include "tensor/kernels/conv_weights.h"
#include "tensor/kernels/transpose.h"
#include "tensor/kernels/winograd_images.h"
#include "tensor/kernels/winograd_transforms.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

inline constexpr index kPoints = 36;
// Outputs per row of a whole tile: 6 = outputs + taps - 1.
constexpr index tile_pitch(const Conv& s) { return 7 - s.kh; }
constexpr index tiles_per_image(const Conv& s) {
  return div_up(s.oh, tile_pitch(s)) * div_up(s.ow, tile_pitch(s));
}
// What V of one block may take of the second-level cache; M, a panel of U and the window need as
// much again.
inline constexpr index kWinogradBytes = 320 * 1024;

// Worth it for 3x3 at stride 1 (doubled pixels: padded by one all round), unless the image's ends
// leave most of its 4x4 tiles empty, or so few channels that the transforms outweigh the products.
// f64 is for checks, where its rounding would be in the way.
template <class T>
inline bool winograd_pays(const Conv& s, bool upsample) {
  if (s.kh != 3 || s.kw != 3 || s.stride != 1 || s.n <= 0 || s.c <= 0 || s.k <= 0) return false;
  if (upsample && !(s.pad_top == 1 && s.pad_left == 1 && s.oh == s.h && s.ow == s.w)) return false;
  if (conv_method() != ConvMethod::automatic) return conv_method() == ConvMethod::winograd;
  const index covered = 16 * div_up(s.oh, 4) * div_up(s.ow, 4);
  return sizeof(T) == 4 && s.c >= 8 && s.k >= 8 && 5 * s.oh * s.ow >= 2 * covered;
}

// Tiles per block. Forward: V of a block stays in the second-level cache.
// Weight gradients turn every sum into taps once a block, so they want more of them.
template <class T>
index winograd_tiles(index channels) {
  return clamp_to(kWinogradBytes / (kPoints * channels * static_cast<index>(sizeof(T))), 14, 49);
}
template <class T>
index winograd_weight_tiles(index in, index out) {
  return clamp_to(4 * kWinogradBytes / (kPoints * (in + out) * static_cast<index>(sizeof(T))), 100,
                  128);
}

// ---- how the work is cut: into blocks of rows of tiles of one image, or of several whole images

// Whether a tile of `points` (4, 5 or 6) has point i of that dimension.
constexpr bool has_point(index points, int i) {
  return !(i == 4 ? points < 6 : i == 3 && points < 5);
}
// Points by which short tiles lack them: 0 none, 1 those of four points, 2 also those of five.
inline constexpr int kPointClasses = 3;
constexpr int point_class(int i) { return i == 3 || i == 4 ? i - 2 : 0; }

template <int Rows, int Cols>
struct TileSize {
  static constexpr int kRows = Rows, kCols = Cols;
};

// A tile of a block: its rows and columns of points, and its number among the block's tiles of its
// kind.
struct WinogradTile {
  index rows, cols;
  index number;

  // f(TileSize)
  template <class F>
  [[gnu::always_inline]] void with_size(F&& f) const {
    const auto with_rows = [&]<int Rows>() {
      if (cols == 6) return f(TileSize<Rows, 6>{});
      cols == 5 ? f(TileSize<Rows, 5>{}) : f(TileSize<Rows, 4>{});
    };
    if (rows == 6) return with_rows.template operator()<6>();
    rows == 5 ? with_rows.template operator()<5>() : with_rows.template operator()<4>();
  }
};
// Which of a block's tiles it is, for the points of each class.
struct TilePlaces {
  index of_class[kPointClasses];
};
struct WinogradBlock {
  index image, images;
  Range rows;
  index tiles = 0;
  index last_rows = 6, last_cols = 6;  // points of an image's last tiles
  index kinds[2][2] = {};              // tiles of each kind, [short row][short column]
  TilePlaces begin[2][2] = {};         // where they begin

  Range all_images() const { return {image, image + images}; }

  // How many tiles have point (i, j), and which of them a tile is, if it has the point. For each
  // point the kinds lie one after the other: long and long, long and short, short and long, ...
  index tiles_of(index point) const {
    const bool short_rows = has_point(last_rows, static_cast<int>(point / 6));
    const bool short_cols = has_point(last_cols, static_cast<int>(point % 6));
    return kinds[0][0] + (short_cols ? kinds[0][1] : 0) + (short_rows ? kinds[1][0] : 0) +
           (short_rows && short_cols ? kinds[1][1] : 0);
  }
  TilePlaces places(const WinogradTile& t) const {
    const TilePlaces& first = begin[t.rows < 6][t.cols < 6];
    return {
        {first.of_class[0] + t.number, first.of_class[1] + t.number, first.of_class[2] + t.number}};
  }
};
struct WinogradPlan {
  index tiles_h, tiles_w;      // of one image
  index last_rows, last_cols;  // points of its last tiles
  index bands, images;  // bands of tile rows per image, or images per block (one of them is 1)
  index blocks;

  WinogradBlock block(const Conv& s, index i) const {
    const index image = i / bands * images;
    WinogradBlock b{image, smaller(images, s.n - image), part_of(tiles_h, bands, i % bands)};
    b.last_rows = last_rows;
    b.last_cols = last_cols;
    b.tiles = b.images * b.rows.size() * tiles_w;
    const index short_rows = last_rows < 6 && b.rows.end == tiles_h, short_cols = last_cols < 6;
    const index rows[] = {b.rows.size() - short_rows, short_rows};
    const index cols[] = {tiles_w - short_cols, short_cols};
    for (int r = 0; r < 2; ++r) {
      for (int c = 0; c < 2; ++c) b.kinds[r][c] = b.images * rows[r] * cols[c];
    }
    for (int k = 0; k < kPointClasses; ++k) {
      const index long_rows = b.kinds[0][0] + (has_point(last_cols, 2 + k) ? b.kinds[0][1] : 0);
      b.begin[0][1].of_class[k] = b.kinds[0][0];
      b.begin[1][0].of_class[k] = long_rows;
      b.begin[1][1].of_class[k] = long_rows + b.kinds[1][0];
    }
    return b;
  }
  // f(tile row, tile column, tile) for the tiles of one image of a block, or of some of its rows.
  template <class F>
  [[gnu::always_inline]] void for_tiles(const WinogradBlock& b, index image, F&& f) const {
    for_tiles(b, b.rows, image, f);
  }
  template <class F>
  [[gnu::always_inline]] void for_tiles(const WinogradBlock& b, Range some, index image,
                                        F&& f) const {
    index numbers[2][2];
    for (int r = 0; r < 2; ++r) {
      for (int c = 0; c < 2; ++c) numbers[r][c] = b.kinds[r][c] / b.images * (image - b.image);
    }
    for (index tr = b.rows.begin; tr < b.rows.end; ++tr) {
      for (index tc = 0; tc < tiles_w; ++tc) {
        const index rows = tr == tiles_h - 1 ? last_rows : 6;
        const index cols = tc == tiles_w - 1 ? last_cols : 6;
        const index number = numbers[rows < 6][cols < 6]++;
        if (tr >= some.begin && tr < some.end) f(tr, tc, WinogradTile{rows, cols, number});
      }
    }
  }
  // The same tiles of n images, so many in a block.
  WinogradPlan of_images(index n, index in_block) const {
    return {tiles_h, tiles_w, last_rows, last_cols, 1, in_block, div_up(n, in_block)};
  }
  index most_rows() const { return div_up(tiles_h, bands); }
  index most_tiles() const { return images * most_rows() * tiles_w; }
};

// Blocks of about `wanted` tiles, fewer (down to `least`) where that would leave threads without
// work: `tasks` are to be found.
inline WinogradPlan plan_winograd(const Conv& s, index wanted, index least, index tasks) {
  const index pitch = tile_pitch(s);
  const auto last = [&](index outputs) { return larger(4, (outputs - 1) % pitch + s.kh); };
  WinogradPlan p{div_up(s.oh, pitch), div_up(s.ow, pitch), last(s.oh), last(s.ow), 1, 1, 0};
  const index per_image = p.tiles_h * p.tiles_w;
  p.bands = smaller(p.tiles_h, larger((per_image + wanted / 2) / wanted, div_up(tasks, s.n)));
  if (p.bands <= 1) {
    p.bands = 1;
    p.images = clamp_to((wanted + per_image / 2) / per_image, 1,
                        larger(div_up(least, per_image), s.n / tasks));
  }
  // Whole rounds of tasks, so that threads finish together.
  if (const index rounds = div_up(s.n, p.images * tasks); p.images > 1 && rounds > 1)
    p.images = div_up(s.n, rounds * tasks);
  p.blocks = div_up(s.n, p.images) * p.bands;
  return p;
}

// Numbers between one point's array and the next, at most kBlock more than it has: never a multiple
// of 4 KiB, which would crowd the 36 stores of a transform into one set of the first-level cache.
template <class T>
index point_step(index numbers) {
  const index step = numbers + kBlock;
  return step * static_cast<index>(sizeof(T)) % 4096 == 0 ? numbers : step;
}

// Panels of 36 arrays [rows][width], as U (rows: channels) and Z (tiles) are kept.
template <class T>
struct PointPanels {
  Panels<T> panels;
  index rows;
  index begin(index p) const { return kPoints * (panels.offset(p, rows) + p * kBlock); }
  index step(index p) const { return point_step<T>(rows * panels.width(p)); }
  index size() const { return kPoints * (panels.size(rows) + panels.count() * kBlock); }
};

// Where V keeps tile t's channel c of a point: at t * tile + c / kBlock * block + c % kBlock.
struct TileLayout {
  index tile, block, point;
};

// Where a tile keeps its points: point (i, j) at [point_class(j)] + (6 i + j) point.
template <class T>
struct TilePoints {
  T* begin[kPointClasses];
  index point;

  TilePoints(T* points, const TilePlaces& places, index tile, index step) : point(step) {
    for (int i = 0; i < kPointClasses; ++i) begin[i] = points + places.of_class[i] * tile;
  }
  // So many numbers further. The compiler may not see through it: it would work out the addresses
  // of all 36 points beforehand and keep them on the stack.
  [[gnu::always_inline]] TilePoints moved(index numbers) const {
    TilePoints to = *this;
#pragma GCC unroll 3
    for (int i = 0; i < kPointClasses; ++i) {
      to.begin[i] += numbers;
      asm("" : "+r"(to.begin[i]));
    }
    return to;
  }
  // Point (0, j)
  [[gnu::always_inline]] T* at(int j) const { return begin[point_class(j)] + j * point; }
};

// A row of a tile's points, those that tiles of Cols columns have.
template <class T, int Cols>
[[gnu::always_inline]] inline void store_points(const Vec<T> (&v)[6], const TilePoints<T>& to) {
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    if (has_point(Cols, j)) store<T>(to.at(j), v[j]);
  }
}

// V = Bᵀ d B of one tile, for one vector of channels. d's rows and columns lie `row` and `col`
// apart.
template <class T, int Rows, int Cols>
[[gnu::always_inline]] inline void winograd_input_tile(const T* d, index row, index col,
                                                       TilePoints<T> to) {
  Vec<T> columns[kPoints];  // Bᵀ d
#pragma GCC unroll 6
  for (int j = 0; j < Cols; ++j) {
    Vec<T> x[Rows];
#pragma GCC unroll 6
    for (int i = 0; i < Rows; ++i) x[i] = load(d + i * row + j * col);
    transform_input<T>(x, columns + j, 6);
  }
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
    if (has_point(Rows, i)) {
      Vec<T> x[Cols], v[6];
#pragma GCC unroll 6
      for (int j = 0; j < Cols; ++j) x[j] = columns[6 * i + j];
      transform_input<T>(x, v, 1);
      store_points<T, Cols>(v, to);
    }
    to = to.moved(6 * to.point);
  }
}

// Numbers in the window of a block: what its tiles see of one image.
template <class T>
index window_size(const Conv& s, const WinogradPlan& plan) {
  const index more = s.kh - 1, pitch = tile_pitch(s);
  return (pitch * plan.most_rows() + more) * (pitch * plan.tiles_w + more) *
         round_up(s.c, kLanes<T>);
}

// V for some images of a block and some rows of their tiles, with the input read through `window`
// (scratch); `grid`: how it lies. `measure`: the statistics of its normalisation come first.
template <class T>
void winograd_inputs(const Conv& s, const WinogradPlan& plan, const WinogradBlock& b, Range images,
                     Range tile_rows, const ConvInput<T>& in, const TiledImage& grid,
                     ReadNorm<T>& norm, bool measure, const TileLayout& layout, T* window, T* v) {
  constexpr index kL = kLanes<T>;
  const index pitch = tile_pitch(s), more = s.kh - 1;
  const index step = round_up(s.c, kL), cols = pitch * plan.tiles_w + more;
  for (index image = images.begin; image < images.end; ++image) {
    if (measure) norm.measure(s, image);
    norm.set_image(image);
    const index top = pitch * tile_rows.begin - s.pad_top, rows = pitch * tile_rows.size() + more;
    if (grid.blocks) {
      read_blocks(grid, in.x + image * grid.size(), {top, top + rows},
                  {-s.pad_left, cols - s.pad_left}, window, step);
    } else {
      read_window(s, norm, image, top, rows, -s.pad_left, cols, window, step);
    }
    plan.for_tiles(b, tile_rows, image, [&](index tr, index tc, const WinogradTile& t) {
      const T* corner = window + pitch * ((tr - tile_rows.begin) * cols + tc) * step;
      const TilePoints<T> to(v, b.places(t), layout.tile, layout.point);
      t.with_size([&](auto size) {
        for (index c = 0; c < step; c += kL) {
          winograd_input_tile<T, size.kRows, size.kCols>(
              corner + c, cols * step, step, to.moved(c / kBlock * layout.block + c % kBlock));
        }
      });
    });
  }
}

template <class T>
PointPanels<T> filter_panels(const Conv& s) {
  return {{s.k}, s.c};
}

// Panel p of U as [point][channel][lane] = G g Gᵀ. `order` tells where w's numbers lie.
template <class T, int Taps, bool Mirrored>
void winograd_filter_panel(const Conv& s, const WeightOrder& order, index p, Range channels,
                           const T* w, T* panel) {
  constexpr index kL = kLanes<T>;
  const Panels<T> panels{s.k};
  const index width = panels.width(p), lanes = panels.lanes(p);
  const index point = filter_panels<T>(s).step(p);
  for (index c = channels.begin; c < channels.end; ++c) {
    for (index lane = 0; lane < width; lane += kL) {
      Vec<T> taps[Taps * Taps];
      rows_to_lanes(w + (p * panels.kWidth + lane) * order.out + c * order.in, order.out,
                    smaller(lanes - lane, kL), taps);
      Vec<T> columns[6 * Taps];  // G g
#pragma GCC unroll 3
      for (int j = 0; j < Taps; ++j) {
        Vec<T> g[Taps];
#pragma GCC unroll 3
        for (int i = 0; i < Taps; ++i) {
          const int t = Taps * i + j;
          g[i] = taps[Mirrored ? Taps * Taps - 1 - t : t];
        }
        transform_filter<T>(g, columns + j, Taps);
      }
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) {
        Vec<T> g[Taps], o[6];
#pragma GCC unroll 3
        for (int j = 0; j < Taps; ++j) g[j] = columns[Taps * i + j];
        transform_filter<T>(g, o, 1);
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) store<T>(panel + (6 * i + j) * point + c * width + lane, o[j]);
      }
    }
  }
}

// All of U, for a convolution of s.
template <class T>
index winograd_filters_size(const Conv& s) {
  return filter_panels<T>(s).size();
}
template <class T>
void winograd_filters(const Conv& s, const WeightOrder& order, const T* w, T* filters) {
  const Panels<T> panels{s.k};
  const index blocks = div_up(s.c, kBlock);
  parallel_for(panels.count() * blocks, [&](index task) {
    const index p = task / blocks, c = task % blocks * kBlock;
    const Range channels{c, smaller(c + kBlock, s.c)};
    T* const panel = filters + filter_panels<T>(s).begin(p);
    const auto two =
        order.mirrored ? winograd_filter_panel<T, 2, true> : winograd_filter_panel<T, 2, false>;
    const auto three =
        order.mirrored ? winograd_filter_panel<T, 3, true> : winograd_filter_panel<T, 3, false>;
    (s.kh == 2 ? two : three)(s, order, p, channels, w, panel);
  });
}

// o = Aᵀ m A of one tile, for N vectors of channels: put(i, o) for each row of outputs.
template <class T, int Rows, int Cols, int Taps, int N, class Put>
[[gnu::always_inline]] inline void winograd_output_tile(const TilePoints<const T>& m, Put put) {
  constexpr int kRows = Rows + 1 - Taps, kCols = Cols + 1 - Taps;
  Vec<T> columns[N][6 * kRows];  // Aᵀ m
#pragma GCC unroll 2
  for (int n = 0; n < N; ++n) {
    TilePoints<const T> from = m.moved(n * kLanes<T>);
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      if (has_point(Cols, j)) {
        Vec<T> x[6];
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) {
          if (has_point(Rows, i)) x[i] = load(from.begin[point_class(j)] + 6 * i * from.point);
        }
        transform_output<T, Rows, kRows>(x, columns[n] + j, 6);
      }
      from = from.moved(from.point);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    Vec<T> o[N][kCols];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      Vec<T> x[6];
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) {
        if (has_point(Cols, j)) x[j] = columns[n][6 * i + j];
      }
      transform_output<T, Cols, kCols>(x, o[n], 1);
    }
    put(i, o);
  }
}

// y, with what ConvOutput adds, for one panel of M[point][tile][width]. N vectors of a pixel at a
// time: with more than one they must all be there.
template <class T, int Taps, int N>
void winograd_outputs(const Conv& s, const TiledImage& grid, const WinogradPlan& plan,
                      const WinogradBlock& b, const T* m, index m_point, index p,
                      const ConvOutput<T>& out, bool streamed) {
  constexpr int kPitch = 7 - Taps;
  const Panels<T> panels{s.k};
  const index k = grid.channels, width = panels.width(p), first = p * panels.kWidth;
  for (index image = b.image; image < b.image + b.images; ++image) {
    plan.for_tiles(b, image, [&](index tr, index tc, const WinogradTile& t) {
      const TilePoints<const T> points(m, b.places(t), width, m_point);
      t.with_size([&](auto size) {
        constexpr int kRows = size.kRows + 1 - Taps, kCols = size.kCols + 1 - Taps;
        grid.for_vectors<T, N>({first, first + panels.lanes(p)}, [&](index column, index channel,
                                                                     Some lanes) {
          const TilePixels area = grid.pixels<T>(kPitch * tr, kPitch * tc, kRows, kCols, column);
          const index corner =
              ((image * grid.rows + area.row) * grid.cols + area.col) * k + channel;
          Vec<T> shift[N] = {};
#pragma GCC unroll 2
          for (int n = 0; n < N; ++n) {
            const index c = channel + n * kLanes<T>;
            if (out.bias) shift[n] = load(out.bias + c, lanes);
            if (out.per_image) shift[n] += load(out.per_image + image * k + c, lanes);
          }
          const auto put = [&](int i, int j, const Vec<T>(&o)[N][kCols], auto extent) {
            const index at = corner + (i * grid.cols + j) * area.scale * k;
#pragma GCC unroll 2
            for (int n = 0; n < N; ++n) {
              const index to = at + n * kLanes<T>;
              Vec<T> y = o[n][j] + shift[n];
              if (out.residual) y += load(out.residual + to, extent);
              if (streamed) {
                stream(out.y + to, y);
              } else {
                store<T>(out.y + to, y, extent);
              }
            }
          };
          if (lanes.count == kLanes<T> && area.whole(kRows, kCols)) {
            winograd_output_tile<T, size.kRows, size.kCols, Taps, N>(
                points.moved(column - first), [&](int i, const Vec<T>(&o)[N][kCols]) {
#pragma GCC unroll 6
                  for (int j = 0; j < kCols; ++j) put(i, j, o, Full{});
                });
          } else {
            winograd_output_tile<T, size.kRows, size.kCols, Taps, N>(
                points.moved(column - first), [&](int i, const Vec<T>(&o)[N][kCols]) {
#pragma GCC unroll 1
                  for (int j = 0; j < kCols; ++j) {
                    if (area.has(i, j)) put(i, j, o, lanes);
                  }
                });
          }
        });
      });
    });
  }
  if (streamed) finish_streams();
}

// Images that a task takes at a time, if they are all it has.
template <class T>
index winograd_images(const Conv& s) {
  return larger(1, winograd_tiles<T>(round_up(s.c, kBlock)) / tiles_per_image(s));
}

// Few tiles, and more filters than those: threads share the panels of U, which whole blocks would
// all read all of. (No output depends on the cut.)
template <class T>
bool shares_filters(const Conv& s) {
  return s.n * tiles_per_image(s) < s.k && Panels<T>{s.k}.count() > 1 && !inside_task();
}

// The forward convolution, and, with the weights' order turned round, the backward one. `from`,
// `to`: how its input and its output lie. `measure`: it writes the statistics of its input first.
// `later`: images like y that the caller reads next, if any.
template <class T>
void winograd(const Conv& s, const ConvInput<T>& in, const TiledImage& from, const T* filters,
              const ConvOutput<T>& out, const TiledImage& to, bool measure, bool streamed,
              const Image<const T>& later = {}) {
  const Panels<T> panels{s.k};
  const PointPanels<T> u = filter_panels<T>(s);
  const index depth = round_up(s.c, kBlock), blocks = depth / kBlock;
  const index out_pixels = to.rows * to.cols;
  const bool apart = shares_filters<T>(s);
  const index tasks = inside_task() ? 1
                      : apart       ? div_up(thread_count(), panels.count())
                                    : kTasks / 2;
  const WinogradPlan plan = plan_winograd(s, winograd_tiles<T>(depth), 1, tasks);
  if (measure && (apart || plan.bands > 1)) {
    group_norm_statistics(norm_of(s, in), image_of(s, in), in.mean, in.rstd);
    measure = false;
  }
  const auto layout_of = [&](const WinogradBlock& b) {
    return TileLayout{kBlock, b.tiles * kBlock, point_step<T>(b.tiles * depth)};
  };
  const auto transform = [&](const WinogradBlock& b, Range tile_rows, T* v) {
    ReadNorm<T> norm(s, in);
    const Scratch<T> window(window_size<T>(s, plan));
    winograd_inputs(s, plan, b, b.all_images(), tile_rows, in, from, norm, measure, layout_of(b),
                    window.get(), v);
  };
  const auto multiply = [&](const WinogradBlock& b, const T* v, Range some_panels) {
    const TileLayout layout = layout_of(b);
    const index m_point = point_step<T>(b.tiles * panels.kWidth);
    ReadAhead ahead;
    const auto fetch = [&](const Image<const T>& images) {
      if (images.x == nullptr || plan.bands > 1) return;
      images.parts({0, images.c}, [&](Range part) {
        ahead.add(images.at(b.image * out_pixels, part.begin), b.images * out_pixels * part.size());
      });
    };
    fetch({out.residual, to.channels});
    fetch(later);
    const Scratch<T> m(kPoints * m_point);
    const Scratch<Segment> segments(blocks);
    for (index i = 0; i < blocks; ++i)
      segments[i] = {i * layout.block, smaller(kBlock, s.c - i * kBlock)};
    const Depth k{1, 0, segments.get(), blocks};
    for (index p = some_panels.begin; p < some_panels.end; ++p) {
      const index width = panels.width(p), vectors = panels.vectors(p);
      for (index point = 0; point < kPoints; ++point) {
        const T* panel = filters + u.begin(p) + point * u.step(p);
        for_row_blocks(b.tiles_of(point), vectors, [&](index tile, index rows) {
          tile_function<T>(rows, vectors)(v + point * layout.point + tile * kBlock, k, panel,
                                          Output<T>{m.get() + point * m_point + tile * width, width,
                                                    width, nullptr, 0, false, ahead.next(s.c)});
        });
      }
      const auto outputs = [&]<int N>() {
        return s.kh == 2 ? winograd_outputs<T, 2, N> : winograd_outputs<T, 3, N>;
      };
      const auto put = streamed ? outputs.template operator()<kStreamVectors>()
                                : outputs.template operator()<1>();
      put(s, to, plan, b, m.get(), m_point, p, out, streamed);
    }
  };
  if (apart) {
    const index v_size = kPoints * point_step<T>(plan.most_tiles() * depth), rows = plan.tiles_h;
    const Scratch<T> v(plan.blocks * v_size);
    parallel_for(plan.blocks * rows, [&](index task) {
      const WinogradBlock b = plan.block(s, task / rows);
      const index row = task % rows;
      if (row >= b.rows.begin && row < b.rows.end)
        transform(b, {row, row + 1}, v.get() + task / rows * v_size);
    });
    return parallel_for(panels.count() * plan.blocks, [&](index task) {
      const index p = task / plan.blocks, block = task % plan.blocks;
      multiply(plan.block(s, block), v.get() + block * v_size, {p, p + 1});
    });
  }
  parallel_for(plan.blocks, [&](index task) {
    const WinogradBlock b = plan.block(s, task);
    const Scratch<T> v(kPoints * layout_of(b).point);
    transform(b, b.rows, v.get());
    multiply(b, v.get(), {0, panels.count()});
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
