// The memory layout of the arrays between Winograd's transforms: V (transformed input), U (filters),
// M (products) and Z (transformed output gradient), each one matrix per point.
#pragma once
#include "tensor/kernels/winograd_plan.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Elements from one point's matrix to the next, at most kBlock more than it has: never a multiple of
// 4 KiB, where the 36 stores of a transform would all go to the same set of L1.
template <class T>
index point_step(index elements) {
  const index step = elements + kBlock;
  return has_set_conflicts(step * static_cast<index>(sizeof(T))) ? elements : step;
}

// U (rows: channels) and Z (rows: tiles): panels of 36 matrices [rows][width].
template <class T>
struct PointPanels {
  Panels<T> panels;
  index rows;
  index begin(index p) const { return kPoints * (panels.offset(p, rows) + p * kBlock); }
  index step(index p) const { return point_step<T>(rows * panels.width(p)); }
  index size() const { return kPoints * (panels.size(rows) + panels.count() * kBlock); }
};

// V: tile t's channel c of a point is at t * tile + c / kBlock * block + c % kBlock.
struct TileLayout {
  index tile, block, point;
};
// Channel block after channel block, in each tile after tile: the layout that tile_block reads.
template <class T>
TileLayout blocked_layout(index tiles, index channels) {
  return {.tile = kBlock,
          .block = tiles * kBlock,
          .point = point_step<T>(tiles * round_up(channels, kBlock))};
}
// All channels of a tile contiguous.
template <class T>
TileLayout contiguous_layout(index tiles, index channels) {
  const index depth = round_up(channels, kBlock);
  return {.tile = depth, .block = kBlock, .point = point_step<T>(tiles * depth)};
}

// The points of one tile: point (i, j) is at begin[point_class(j)] + (6 i + j) * point.
template <class T>
struct TilePoints {
  T* begin[kPointClasses];
  index point;

  TilePoints(T* points, const TileOffsets& offsets, index tile, index step) : point(step) {
    for (int i = 0; i < kPointClasses; ++i) begin[i] = points + offsets.of_class[i] * tile;
  }
  // Moves all of them by so many elements. The asm hides the sum from the compiler, which would otherwise
  // compute the addresses of all 36 points in advance and spill them to the stack.
  [[gnu::always_inline]] void move(index elements) {
#pragma GCC unroll 3
    for (int i = 0; i < kPointClasses; ++i) {
      begin[i] += elements;
      asm("" : "+r"(begin[i]));
    }
  }
  [[gnu::always_inline]] TilePoints moved(index elements) const {
    TilePoints to = *this;
    to.move(elements);
    return to;
  }
  // Point (0, j)
  [[gnu::always_inline]] T* at(int j) const { return begin[point_class(j)] + j * point; }
};

// Reads a tile's points column by column: a source of transform_2d.
template <class T>
class PointReader {
 public:
  explicit PointReader(const TilePoints<const T>& points) : column_(points) {}
  [[gnu::always_inline]] Vec<T> at(int i, int j) const {
    return load(column_.begin[point_class(j)] + 6 * i * column_.point);
  }
  [[gnu::always_inline]] void next_column() { column_.move(column_.point); }

 private:
  TilePoints<const T> column_;
};

// Writes a tile's points row by row, those that tiles of Cols columns have: a sink of transform_2d.
template <class T, int Cols>
class PointWriter {
 public:
  explicit PointWriter(const TilePoints<T>& points) : row_(points) {}
  [[gnu::always_inline]] void put(int, const Vec<T> (&v)[6]) {
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      if (has_point(Cols, j)) store<T>(row_.at(j), v[j]);
    }
  }
  [[gnu::always_inline]] void next_row() { row_.move(6 * row_.point); }

 private:
  TilePoints<T> row_;
};

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
