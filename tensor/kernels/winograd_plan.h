// How the work of Winograd's algorithm is cut: an image into tiles, tiles into blocks whose transformed input fits L2.
#pragma once
#include "tensor/kernels/micro.h"
#include "tensor/kernels/winograd.h"
#include "tensor/kernels/winograd_transforms.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

inline constexpr index kPoints = 36;
// Outputs per row of a whole tile: 6 = outputs + taps - 1.
constexpr index tile_pitch(const Conv& conv) { return 7 - conv.kh; }
constexpr index tiles_per_image(const Conv& conv) {
  return div_up(conv.oh, tile_pitch(conv)) * div_up(conv.ow, tile_pitch(conv));
}

// Tiles per block, forward: V of a block stays in L2.
template <class T>
index winograd_tiles(index channels) {
  return clamp_to(kCache.winograd_v() / (kPoints * channels * static_cast<index>(sizeof(T))), 14,
                  49);
}
// For the weight gradient, which transforms every sum to taps once per block and so wants more tiles
// per block.
template <class T>
index winograd_weight_tiles(index in, index out) {
  return clamp_to(4 * kCache.winograd_v() / (kPoints * (in + out) * static_cast<index>(sizeof(T))),
                  100, 128);
}
// Images that fit one block, at least one.
template <class T>
index winograd_images(const Conv& conv) {
  return larger(1, winograd_tiles<T>(round_up(conv.c, kBlock)) / tiles_per_image(conv));
}

// ---- tiles
//
// In each dimension a tile has six points (winograd_transforms.h), or at the end of an image four or
// five: a short tile.

// Class of a point: 0, every tile has it; 1, tiles of four points lack it; 2, those of five lack it
// too.
inline constexpr int kPointClasses = 3;
constexpr int point_class(int i) { return i == 3 || i == 4 ? i - 2 : 0; }

template <int Rows, int Cols>
struct TileSize {
  static constexpr int kRows = Rows, kCols = Cols;
};

// A tile has a kind: whole or short in rows, whole or short in columns. One short in both is square, so that
// seven sizes are compiled instead of nine.
struct WinogradTile {
  index rows, cols;  // points in each dimension
  index number;      // index among the block's tiles of its kind

  // f(TileSize): the size as a constant.
  template <class F>
  [[gnu::always_inline]] void with_size(F&& f) const {
    if (rows == 6) return with_cols<6>(f);
    rows == 5 ? with_cols<5>(f) : with_cols<4>(f);
  }

 private:
  template <int Rows, class F>
  [[gnu::always_inline]] void with_cols(F&& f) const {
    if (cols == 6) return f(TileSize<Rows, 6>{});
    if constexpr (Rows < 6)
      return f(TileSize<Rows, Rows>{});
    else
      cols == 5 ? f(TileSize<6, 5>{}) : f(TileSize<6, 4>{});
  }
};

// A tile's index among those tiles of its block that have a point, per class of the point's column.
struct TileOffsets {
  index of_class[kPointClasses];
};

// ---- blocks: rows of tiles of one image, or all tiles of several whole images

// For each point, the tiles that have it are stored kind by kind: whole rows and columns, short
// columns, short rows, both short.
struct WinogradBlock {
  index image, images;
  Range rows;
  index tiles = 0;
  index last_rows = 6, last_cols = 6;  // points of an image's last tiles
  index kinds[2][2] = {};              // number of tiles of each kind, [short rows][short columns]
  TileOffsets begin[2][2] = {};        // offset of the first tile of each kind

  Range all_images() const { return {image, image + images}; }

  // Tiles that have point 6 i + j.
  index tiles_of(index point) const {
    const bool short_rows = has_point(last_rows, static_cast<int>(point / 6));
    const bool short_cols = has_point(last_cols, static_cast<int>(point % 6));
    return kinds[0][0] + (short_cols ? kinds[0][1] : 0) + (short_rows ? kinds[1][0] : 0) +
           (short_rows && short_cols ? kinds[1][1] : 0);
  }
  TileOffsets offsets(const WinogradTile& t) const {
    const TileOffsets& first = begin[t.rows < 6][t.cols < 6];
    return {
        {first.of_class[0] + t.number, first.of_class[1] + t.number, first.of_class[2] + t.number}};
  }
};

struct WinogradPlan {
  index tiles_h, tiles_w;      // of one image
  index last_rows, last_cols;  // points of its last tiles
  index bands, images;  // bands of tile rows per image, or images per block (one of them is 1)
  index blocks;

  WinogradBlock block(const Conv& conv, index i) const {
    const index image = i / bands * images;
    WinogradBlock b{image, smaller(images, conv.n - image), part_of(tiles_h, bands, i % bands)};
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
      const index whole_rows = b.kinds[0][0] + (has_point(last_cols, 2 + k) ? b.kinds[0][1] : 0);
      b.begin[0][1].of_class[k] = b.kinds[0][0];
      b.begin[1][0].of_class[k] = whole_rows;
      b.begin[1][1].of_class[k] = whole_rows + b.kinds[1][0];
    }
    return b;
  }
  // f(tile row, tile column, tile) for the tiles of one image of a block, or of some rows of them.
  template <class F>
  [[gnu::always_inline]] void for_tiles(const WinogradBlock& b, index image, F&& f) const {
    for_tiles(b, b.rows, image, f);
  }
  template <class F>
  [[gnu::always_inline]] void for_tiles(const WinogradBlock& b, Range tile_rows, index image,
                                        F&& f) const {
    index next[2][2];  // number of the next tile of each kind
    for (int r = 0; r < 2; ++r) {
      for (int c = 0; c < 2; ++c) next[r][c] = b.kinds[r][c] / b.images * (image - b.image);
    }
    for (index tr = b.rows.begin; tr < b.rows.end; ++tr) {
      for (index tc = 0; tc < tiles_w; ++tc) {
        const index rows = tr == tiles_h - 1 ? last_rows : 6;
        const index cols = tc == tiles_w - 1 ? last_cols : 6;
        const index number = next[rows < 6][cols < 6]++;
        if (tr >= tile_rows.begin && tr < tile_rows.end)
          f(tr, tc, WinogradTile{rows, cols, number});
      }
    }
  }
  // The same tiles of n images, `per_block` images in a block.
  WinogradPlan of_images(index n, index per_block) const {
    WinogradPlan plan = *this;
    plan.bands = 1;
    plan.images = per_block;
    plan.blocks = div_up(n, per_block);
    return plan;
  }
  index most_rows() const { return div_up(tiles_h, bands); }
  index most_tiles() const { return images * most_rows() * tiles_w; }
};

// Blocks of about `wanted` tiles; of fewer, down to `least`, where there would be less than `tasks`
// blocks.
inline WinogradPlan plan_winograd(const Conv& conv, index wanted, index least, index tasks) {
  const index pitch = tile_pitch(conv);
  const auto last = [&](index outputs) { return larger(4, (outputs - 1) % pitch + conv.kh); };
  index rows = last(conv.oh), cols = last(conv.ow);
  if (rows < 6 && cols < 6) rows = cols = larger(rows, cols);
  WinogradPlan p{.tiles_h = div_up(conv.oh, pitch),
                 .tiles_w = div_up(conv.ow, pitch),
                 .last_rows = rows,
                 .last_cols = cols,
                 .bands = 1,
                 .images = 1,
                 .blocks = 0};
  const index per_image = p.tiles_h * p.tiles_w;
  p.bands = smaller(p.tiles_h, larger((per_image + wanted / 2) / wanted, div_up(tasks, conv.n)));
  if (p.bands <= 1) {
    p.bands = 1;
    p.images = clamp_to((wanted + per_image / 2) / per_image, 1,
                        larger(div_up(least, per_image), conv.n / tasks));
  }
  // Whole rounds of tasks, so that threads finish together.
  if (const index rounds = div_up(conv.n, p.images * tasks); p.images > 1 && rounds > 1)
    p.images = div_up(conv.n, rounds * tasks);
  p.blocks = div_up(conv.n, p.images) * p.bands;
  return p;
}

// Whether to split by filters instead of by tiles: there are fewer tiles than filters, so splitting
// by tiles would make every thread read all of U. (No output depends on the split.)
template <class T>
bool winograd_splits_filters(const Conv& conv) {
  return conv.n * tiles_per_image(conv) < conv.k && Panels<T>{conv.k}.count() > 1 && !inside_task();
}

// Whether the weight gradient is split by filters instead of by tiles: V and Z of all tiles are less
// than twice the partial sums of kTasks / 2 partitions (at that factor both ways took the same
// time), and likely to stay in the LLC.
template <class T>
bool winograd_weights_split_filters(const Conv& conv) {
  constexpr index kMost = kCache.llc / static_cast<index>(sizeof(T));
  const index factors = kPoints * conv.n * tiles_per_image(conv) * (conv.c + conv.k);
  return factors <= smaller(kTasks * conv.kh * conv.kw * conv.c * conv.k, kMost);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
