// Tiles: images (or rows of a matrix) copied into scratch memory as
//   [row][channel block][column phase][column][kBlock channels]
// with zeros where the convolution reaches over the image's edge. The copy costs one load and one
// store per kBlock elements, against kh*kw*c multiply-adds, and buys that
//   - tile_block's addresses are constants: neighbouring pixels are kBlock elements apart;
//   - no tap ever needs a bounds test;
//   - with a stride s, columns j, j+s, j+2s... (one phase) are neighbours: the same code runs;
//   - a prologue (normalisation, activation) can be applied while copying.
// Only the first c channels of a tile are defined; the rest of the last block is never read.
#pragma once
#include "tensor/kernels/micro.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// kBlock elements, or of `from` only the first of them.
template <class T>
[[gnu::always_inline]] inline void copy_block(T* to, const T* from, AllLanes) {
#pragma GCC unroll 8
  for (int i = 0; i < kBlock; i += kLanes<T>) store<T>(to + i, load(from + i));
}
template <class T>
[[gnu::always_inline]] inline void copy_block(T* to, const T* from, Tail tail) {
  for (int i = 0; i < tail.count; i += kLanes<T>) {
    const int count = tail.count - i;
    if (count >= kLanes<T>) {
      store<T>(to + i, load(from + i));
    } else {
      store<T>(to + i, load_tail(from + i, count));
    }
  }
}

// to[block][pixel][kBlock] from from[pixel][channels]: pixels `pixel_step` apart in `from`, blocks
// `block_step` apart in `to`. Pixel by pixel, in the order of memory: the hardware prefetcher follows a
// linear scan.
template <class T>
inline void fill_blocks(T* to, index block_step, const T* from, index pixel_step, index pixels,
                        index channels) {
  const index whole = channels / kBlock * kBlock;
  const Tail tail{static_cast<int>(channels - whole)};
  for (index i = 0; i < pixels; ++i, from += pixel_step, to += kBlock) {
    T* block = to;
    for (index c = 0; c < whole; c += kBlock, block += block_step)
      copy_block(block, from + c, AllLanes{});
    if (tail.count > 0) copy_block(block, from + whole, tail);
  }
}

template <class T>
inline void zero(T* to, index count) {
  for_vectors<T>(count, [&](index i, auto lanes) { store<T>(to + i, Vec<T>{}, lanes); });
}

// How a tile is laid out, and which columns of an image it holds.
struct TileShape {
  index channels;
  index stride;     // input pixels per output pixel
  index first_col;  // the input column at phase 0, column 0 (negative: padding)
  index phases;     // min(stride, reach): phases that some tap reads
  index width;      // columns per phase

  index blocks() const { return div_up(channels, kBlock); }
  index phase_step() const { return width * kBlock; }
  index block_step() const { return phases * phase_step(); }
  index row_step() const { return blocks() * block_step(); }
  // Offset of input column first_col + e + j * stride from output column j.
  index column(index e) const { return e % stride * phase_step() + e / stride * kBlock; }
};

// One row of an image [w, c] into one row of a tile.
template <class T>
inline void fill_tile_row(const TileShape& t, const T* x, index w, T* to) {
  for (index phase = 0; phase < t.phases; ++phase, to += t.phase_step()) {
    const index offset = phase + t.first_col;  // column q shows input column q * stride + offset
    const index begin = clamp_to(-div_floor(offset, t.stride), 0, t.width);
    const index end = clamp_to(div_floor(w - 1 - offset, t.stride) + 1, begin, t.width);
    for (index b = 0; b < t.blocks(); ++b) {
      zero(to + b * t.block_step(), begin * kBlock);
      zero(to + b * t.block_step() + end * kBlock, (t.width - end) * kBlock);
    }
    fill_blocks(to + begin * kBlock, t.block_step(), x + (begin * t.stride + offset) * t.channels,
                t.stride * t.channels, end - begin, t.channels);
  }
}

// The segments of one row of a tile under `taps` horizontally neighbouring taps, the first of which
// reads input column first_col + e: [block][tap].
inline void row_segments(const TileShape& t, index e, index taps, Segment* segments) {
  for (index b = 0; b < t.blocks(); ++b) {
    const index steps = smaller(kBlock, t.channels - b * kBlock);
    for (index v = 0; v < taps; ++v) *segments++ = {b * t.block_step() + t.column(e + v), steps};
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
