// Convolutions by F(4x4, 3x3), see winograd_transforms.h: 36 multiplications per 4x4 outputs and
// pair of channels, where the direct sum has 144.
//
// The sum over input channels may be taken before Aᵀ, so for each of the 36 points the work is a
// matrix product [tiles, c] x [c, k], by the same micro-kernel as all others:
//     x --Bᵀ·B--> V[36][tiles, c],   w --G·Gᵀ--> U[36][c, k],   M[36] = V[36] U[36],   M --Aᵀ·A-->
//     y.
// The gradients are in winograd_backward.h.
//
// The price is rounding: in f32, a relative error of about 1e-6 where the direct sum has half of
// that (docs/performance.md has the table, tests/kernels/conv_test.cpp holds it).
#pragma once
#include "tensor/kernels/conv_input.h"
#include "tensor/kernels/conv_weights.h"
#include "tensor/kernels/winograd_transforms.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

inline constexpr index kPoints = 36;
// What V of one block may take of the second-level cache; M, a panel of U and the window need as
// much again.
inline constexpr index kWinogradBytes = 320 * 1024;

// Worth it for 3x3 at stride 1, unless the image's ends leave most of the 4x4 tiles empty, or so
// few channels that the transforms outweigh the products. f64 is for checks, where its rounding
// would be in the way.
template <class T>
inline bool winograd_pays(const Conv& s) {
  if (s.kh != 3 || s.kw != 3 || s.stride != 1 || s.n <= 0) return false;
  if (conv_method() != ConvMethod::automatic) return conv_method() == ConvMethod::winograd;
  const index covered = 16 * div_up(s.oh, 4) * div_up(s.ow, 4);
  return sizeof(T) == 4 && s.c >= 8 && s.k >= 8 && 5 * s.oh * s.ow >= 2 * covered;
}

// Tiles per block. Forward: V of a block stays in the second-level cache.
// Weight gradients load and store every sum once a block, so they want more of them.
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

// Whether a tile of `outputs` (2, 3 or 4) has point i of that dimension.
constexpr bool has_point(index outputs, int i) {
  return !(i == 4 ? outputs < 4 : i == 3 && outputs < 3);
}
// Points by which short tiles lack them: 0 none, 1 those of 2 outputs, 2 also those of 3.
inline constexpr int kPointClasses = 3;
constexpr int point_class(int i) { return i == 3 || i == 4 ? i - 2 : 0; }

template <int Rows, int Cols>
struct TileSize {
  static constexpr int kRows = Rows, kCols = Cols;
};

// A tile of a block: the outputs that are computed, and its number among the block's tiles of its
// kind.
struct WinogradTile {
  index rows, cols;
  index number;

  // f(TileSize)
  template <class F>
  [[gnu::always_inline]] void with_size(F&& f) const {
    const auto with_rows = [&]<int Rows>() {
      if (cols == 4) return f(TileSize<Rows, 4>{});
      cols == 3 ? f(TileSize<Rows, 3>{}) : f(TileSize<Rows, 2>{});
    };
    if (rows == 4) return with_rows.template operator()<4>();
    rows == 3 ? with_rows.template operator()<3>() : with_rows.template operator()<2>();
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
  index last_rows = 4, last_cols = 4;  // outputs of an image's last tiles
  index kinds[2][2] = {};              // tiles of each kind, [short row][short column]
  TilePlaces begin[2][2] = {};         // where they begin

  // How many tiles have point (i, j), and which of them a tile is, if it has the point. For each
  // point the kinds lie one after the other: long and long, long and short, short and long, ...
  index tiles_of(index point) const {
    const bool short_rows = has_point(last_rows, static_cast<int>(point / 6));
    const bool short_cols = has_point(last_cols, static_cast<int>(point % 6));
    return kinds[0][0] + (short_cols ? kinds[0][1] : 0) + (short_rows ? kinds[1][0] : 0) +
           (short_rows && short_cols ? kinds[1][1] : 0);
  }
  TilePlaces places(const WinogradTile& t) const {
    const TilePlaces& first = begin[t.rows < 4][t.cols < 4];
    return {
        {first.of_class[0] + t.number, first.of_class[1] + t.number, first.of_class[2] + t.number}};
  }
};
struct WinogradPlan {
  index tiles_h, tiles_w;      // of one image
  index last_rows, last_cols;  // outputs that its last tiles compute
  index bands, images;  // bands of tile rows per image, or images per block (one of them is 1)
  index blocks;

  WinogradBlock block(const Conv& s, index i) const {
    const index image = i / bands * images;
    WinogradBlock b{image, smaller(images, s.n - image), part_of(tiles_h, bands, i % bands)};
    b.last_rows = last_rows;
    b.last_cols = last_cols;
    b.tiles = b.images * b.rows.size() * tiles_w;
    const index short_rows = last_rows < 4 && b.rows.end == tiles_h, short_cols = last_cols < 4;
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
  // f(tile row, tile column, tile) for the tiles of one image of a block.
  template <class F>
  [[gnu::always_inline]] void for_tiles(const WinogradBlock& b, index image, F&& f) const {
    index numbers[2][2];
    for (int r = 0; r < 2; ++r) {
      for (int c = 0; c < 2; ++c) numbers[r][c] = b.kinds[r][c] / b.images * (image - b.image);
    }
    for (index tr = b.rows.begin; tr < b.rows.end; ++tr) {
      for (index tc = 0; tc < tiles_w; ++tc) {
        const index rows = tr == tiles_h - 1 ? last_rows : 4;
        const index cols = tc == tiles_w - 1 ? last_cols : 4;
        f(tr, tc, WinogradTile{rows, cols, numbers[rows < 4][cols < 4]++});
      }
    }
  }
  index most_rows() const { return div_up(tiles_h, bands); }
  index most_tiles() const { return images * most_rows() * tiles_w; }
};

// Blocks of about `wanted` tiles, fewer (down to `least`) where that would leave threads without
// work.
inline WinogradPlan plan_winograd(const Conv& s, index wanted, index least) {
  const auto last = [](index outputs) { return larger(2, (outputs - 1) % 4 + 1); };
  WinogradPlan p{div_up(s.oh, 4), div_up(s.ow, 4), last(s.oh), last(s.ow), 1, 1, 0};
  const index per_image = p.tiles_h * p.tiles_w, tasks = inside_task() ? 1 : kTasks / 2;
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

// Numbers between one point's array and the next: never a multiple of 4 KiB, which would crowd the
// 36 stores of a transform into one set of the first-level cache.
inline index point_step(index numbers) { return numbers + kBlock; }

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
  [[gnu::always_inline]] T* at(int i, int j, index offset) const {
    return begin[point_class(j)] + (6 * i + j) * point + offset;
  }
};

// Row i of a tile's points, those that tiles of Cols columns have.
template <class T, int Cols>
[[gnu::always_inline]] inline void store_points(const Vec<T> (&v)[6], const TilePoints<T>& to,
                                                int i, index offset) {
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    if (has_point(Cols, j)) store<T>(to.at(i, j, offset), v[j]);
  }
}

// V = Bᵀ d B of one tile, for one vector of channels. d's rows and columns lie `row` and `col`
// apart.
template <class T, int Rows, int Cols>
[[gnu::always_inline]] inline void winograd_input_tile(const T* d, index row, index col,
                                                       const TilePoints<T>& to, index offset) {
  Vec<T> columns[kPoints];  // Bᵀ d
#pragma GCC unroll 6
  for (int j = 0; j < Cols + 2; ++j) {
    Vec<T> x[Rows + 2];
#pragma GCC unroll 6
    for (int i = 0; i < Rows + 2; ++i) x[i] = load(d + i * row + j * col);
    transform_input<T>(x, columns + j, 6);
  }
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
    if (!has_point(Rows, i)) continue;
    Vec<T> x[Cols + 2], v[6];
#pragma GCC unroll 6
    for (int j = 0; j < Cols + 2; ++j) x[j] = columns[6 * i + j];
    transform_input<T>(x, v, 1);
    store_points<T, Cols>(v, to, i, offset);
  }
}

// V for the tiles of one block, with the input read through `window` (scratch). `measure`: the
// statistics of its normalisation come first.
template <class T>
void winograd_inputs(const Conv& s, const WinogradPlan& plan, const WinogradBlock& b,
                     const ConvInput<T>& in, ReadNorm<T>& norm, bool measure,
                     const TileLayout& layout, T* window, T* v) {
  constexpr index kL = kLanes<T>;
  const index step = round_up(s.c, kL), cols = 4 * plan.tiles_w + 2;
  for (index image = b.image; image < b.image + b.images; ++image) {
    if (measure) norm.measure(s, image);
    norm.set_image(image);
    read_window(s, in, norm, image, 4 * b.rows.begin - s.pad_top, 4 * b.rows.size() + 2,
                -s.pad_left, cols, window, step);
    plan.for_tiles(b, image, [&](index tr, index tc, const WinogradTile& t) {
      const T* corner = window + (4 * (tr - b.rows.begin) * cols + 4 * tc) * step;
      const TilePoints<T> to(v, b.places(t), layout.tile, layout.point);
      t.with_size([&](auto size) {
        for (index c = 0; c < step; c += kL) {
          winograd_input_tile<T, size.kRows, size.kCols>(corner + c, cols * step, step, to,
                                                         c / kBlock * layout.block + c % kBlock);
        }
      });
    });
  }
}

// Where panel p of U begins, and the distance between its points.
template <class T>
index filter_panel_begin(const Conv& s, index p) {
  return kPoints * (Panels<T>{s.k}.offset(p, s.c) + p * kBlock);
}
template <class T>
index filter_point_step(const Conv& s, index p) {
  return point_step(s.c * Panels<T>{s.k}.width(p));
}

// Panel p of U as [point][channel][lane] = G g Gᵀ. `order` tells where w's numbers lie.
template <class T>
void winograd_filter_panel(const Conv& s, const WeightOrder& order, index p, Range channels,
                           const T* w, T* panel) {
  constexpr index kL = kLanes<T>;
  const Panels<T> panels{s.k};
  const index width = panels.width(p), lanes = panels.lanes(p);
  const index point = filter_point_step<T>(s, p);
  for (index c = channels.begin; c < channels.end; ++c) {
    for (index lane = 0; lane < width; lane += kL) {
      T taps[9][kL];
      for (index j = 0; j < kL; ++j) {
        const bool there = lane + j < lanes;
        const T* from = w + (p * panels.kWidth + lane + j) * order.out + c * order.in;
        for (index t = 0; t < 9; ++t) taps[order.mirrored ? 8 - t : t][j] = there ? from[t] : T{0};
      }
      Vec<T> columns[18];  // G g, [6][3]
      for (int j = 0; j < 3; ++j) {
        const Vec<T> g[3] = {load(taps[j]), load(taps[3 + j]), load(taps[6 + j])};
        transform_filter<T>(g, columns + j, 3);
      }
      for (int i = 0; i < 6; ++i) {
        const Vec<T> g[3] = {columns[3 * i], columns[3 * i + 1], columns[3 * i + 2]};
        Vec<T> o[6];
        transform_filter<T>(g, o, 1);
        for (int j = 0; j < 6; ++j) store<T>(panel + (6 * i + j) * point + c * width + lane, o[j]);
      }
    }
  }
}

// All of U, for a convolution of s.
template <class T>
index winograd_filters_size(const Conv& s) {
  const Panels<T> panels{s.k};
  return kPoints * (panels.size(s.c) + panels.count() * kBlock);
}
template <class T>
void winograd_filters(const Conv& s, const WeightOrder& order, const T* w, T* filters) {
  const Panels<T> panels{s.k};
  const index blocks = div_up(s.c, kBlock);
  parallel_for(panels.count() * blocks, [&](index task) {
    const index p = task / blocks, c = task % blocks * kBlock;
    winograd_filter_panel(s, order, p, {c, smaller(c + kBlock, s.c)}, w,
                          filters + filter_panel_begin<T>(s, p));
  });
}

// A rectangle of at most 4x4 outputs of one image, `column` the channel they begin with.
struct OutputTile {
  index image, row, col, rows, cols, column;
};

// Writes o[4][4], vectors of output channels, where it belongs.
template <class T, class Extent>
[[gnu::always_inline]] inline void write_tile(const Conv& s, const ConvOutput<T>& out,
                                              const OutputTile& t, const Vec<T>* o, bool streamed,
                                              Extent extent) {
  const auto put = [&](T* to, Vec<T> v) {
    if (streamed) {
      stream(to, v);
    } else {
      store<T>(to, v, extent);
    }
  };
  if (out.sum_2x2) {  // the adjoint of doubling the pixels
    for (index i = 0; i + 1 < t.rows; i += 2) {
      T* row = out.y + ((t.image * s.oh + t.row + i) / 2 * (s.ow / 2) + t.col / 2) * s.k + t.column;
      for (index j = 0; j + 1 < t.cols; j += 2) {
        Vec<T> sum = (o[4 * i + j] + o[4 * i + j + 1]) + (o[4 * i + 4 + j] + o[4 * i + 5 + j]);
        if (out.residual) sum += load(out.residual + (row - out.y) + j / 2 * s.k, extent);
        put(row + j / 2 * s.k, sum);
      }
    }
    return;
  }
  Vec<T> shift{};
  if (out.bias) shift = load(out.bias + t.column, extent);
  if (out.per_image) shift += load(out.per_image + t.image * s.k + t.column, extent);
  for (index i = 0; i < t.rows; ++i) {
    const index at = ((t.image * s.oh + t.row + i) * s.ow + t.col) * s.k + t.column;
    for (index j = 0; j < t.cols; ++j) {
      Vec<T> y = o[4 * i + j] + shift;
      if (out.residual) y += load(out.residual + at + j * s.k, extent);
      put(out.y + at + j * s.k, y);
    }
  }
}

// o = Aᵀ m A of one tile, for one vector of channels, outputs [4][4].
template <class T, int Rows, int Cols>
[[gnu::always_inline]] inline void winograd_output_tile(const TilePoints<const T>& m, index offset,
                                                        Vec<T>* o) {
  Vec<T> columns[24];  // Aᵀ m, [4][6]
#pragma GCC unroll 6
  for (int j = 0; j < 6; ++j) {
    if (!has_point(Cols, j)) continue;
    Vec<T> x[6];
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      if (has_point(Rows, i)) x[i] = load(m.at(i, j, offset));
    }
    transform_output<T, Rows>(x, columns + j, 6);
  }
#pragma GCC unroll 4
  for (int i = 0; i < Rows; ++i) {
    Vec<T> x[6];
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      if (has_point(Cols, j)) x[j] = columns[6 * i + j];
    }
    transform_output<T, Cols>(x, o + 4 * i, 1);
  }
}

// y, with what ConvOutput adds, for one panel of M[point][tile][width].
template <class T>
void winograd_outputs(const Conv& s, const WinogradPlan& plan, const WinogradBlock& b, const T* m,
                      index m_point, index p, const ConvOutput<T>& out, bool streamed) {
  const Panels<T> panels{s.k};
  const index width = panels.width(p);
  for (index image = b.image; image < b.image + b.images; ++image) {
    plan.for_tiles(b, image, [&](index tr, index tc, const WinogradTile& t) {
      const TilePoints<const T> points(m, b.places(t), width, m_point);
      t.with_size([&](auto outputs) {
        for_vectors<T>(panels.lanes(p), [&](index lane, auto extent) {
          Vec<T> o[16];
          winograd_output_tile<T, outputs.kRows, outputs.kCols>(points, lane, o);
          write_tile(s, out,
                     {image, 4 * tr, 4 * tc, smaller(outputs.kRows, s.oh - 4 * tr),
                      smaller(outputs.kCols, s.ow - 4 * tc), p * panels.kWidth + lane},
                     o, streamed, extent);
        });
      });
    });
  }
  if (streamed) finish_streams();
}

// Images that a task takes at a time, if they are all it has.
template <class T>
index winograd_images(const Conv& s) {
  const index per_image = div_up(s.oh, 4) * div_up(s.ow, 4);
  return larger(1, winograd_tiles<T>(round_up(s.c, kBlock)) / per_image);
}

// The forward convolution, and, with the weights' order turned round, the backward one.
// `measure`: it writes the statistics of its input first. `later`: images like y that the caller
// reads next, if any.
template <class T>
void winograd(const Conv& s, const ConvInput<T>& in, const T* filters, const ConvOutput<T>& out,
              bool measure, bool streamed, const Image<const T>& later = {}) {
  const Panels<T> panels{s.k};
  const index depth = round_up(s.c, kBlock), blocks = depth / kBlock;
  const index out_pixels = s.oh * s.ow / (out.sum_2x2 ? 4 : 1);
  const WinogradPlan plan = plan_winograd(s, winograd_tiles<T>(depth), 1);
  if (measure && plan.bands > 1) {
    group_norm_statistics(norm_of(s, in), image_of(s, in), in.mean, in.rstd);
    measure = false;
  }
  const index window_size =
      (4 * plan.most_rows() + 2) * (4 * plan.tiles_w + 2) * round_up(s.c, kLanes<T>);
  parallel_for(plan.blocks, [&](index task) {
    const WinogradBlock b = plan.block(s, task);
    const TileLayout layout{kBlock, b.tiles * kBlock, point_step(b.tiles * depth)};
    const index m_point = point_step(b.tiles * panels.kWidth);
    const Scratch<T> v(kPoints * layout.point);
    ReadNorm<T> norm(s, in);
    {
      const Scratch<T> window(window_size);
      winograd_inputs(s, plan, b, in, norm, measure, layout, window.get(), v.get());
    }
    ReadAhead ahead;
    const auto fetch = [&](const Image<const T>& images) {
      if (images.x == nullptr || plan.bands > 1) return;
      images.parts({0, images.c}, [&](Range part) {
        ahead.add(images.at(b.image * out_pixels, part.begin), b.images * out_pixels * part.size());
      });
    };
    fetch({out.residual, s.k});
    fetch(later);
    const Scratch<T> m(kPoints * m_point);
    const Scratch<Segment> segments(blocks);
    for (index i = 0; i < blocks; ++i)
      segments[i] = {i * layout.block, smaller(kBlock, s.c - i * kBlock)};
    const Depth k{1, 0, segments.get(), blocks};
    for (index p = 0; p < panels.count(); ++p) {
      const index width = panels.width(p), vectors = panels.vectors(p);
      for (index point = 0; point < kPoints; ++point) {
        const T* panel = filters + filter_panel_begin<T>(s, p) + point * filter_point_step<T>(s, p);
        for_row_blocks(b.tiles_of(point), vectors, [&](index tile, index rows) {
          tile_function<T>(rows, vectors)(v.get() + point * layout.point + tile * kBlock, k, panel,
                                          Output<T>{m.get() + point * m_point + tile * width, width,
                                                    width, nullptr, 0, false, ahead.next(s.c)});
        });
      }
      winograd_outputs(s, plan, b, m.get(), m_point, p, out, streamed);
    }
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
