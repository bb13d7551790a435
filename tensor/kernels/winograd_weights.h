// The weight gradient of a convolution by F(4x4, 3x3): the adjoint of winograd_forward.h with respect
// to the filters, point by point:
//     dy --A·Aᵀ--> Z[36][tiles, k],   dU[36] = Σ_tiles V[36]ᵀ Z[36],   dU --Gᵀ·G--> dw.
#pragma once
#include "tensor/kernels/conv_weight_plan.h"
#include "tensor/kernels/winograd_passes.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// ---- Z

// The input of Z, and the sums of dy that are computed with it.
template <class T>
struct WinogradGradient {
  const Conv& conv;
  const WinogradPlan& plan;
  TiledImage tiled;  // layout of dy
  const T* dy;
  T* bias;       // [k rounded up to whole vectors]: += Σ dy
  T* per_image;  // [n, k] or null: = Σ dy of each image
};

// Those pixels of a tile that lie inside the image, and zeros, as [rows][cols] vectors.
template <class T>
[[gnu::noinline]] void load_inside(const WinogradGradient<T>& from, const TilePixels& area,
                                   index corner, Vec<T>* tile, index tile_rows, index tile_cols,
                                   Tail tail) {
  const PixelSteps step = from.tiled.steps(area);
  for (index i = 0; i < tile_rows * tile_cols; ++i) tile[i] = Vec<T>{};
  for (index i = area.rows.begin; i < area.rows.end; ++i) {
    for (index j = area.cols.begin; j < area.cols.end; ++j)
      tile[i * tile_cols + j] = load(from.dy + (corner + i * step.row + j * step.col), tail);
  }
}

// Z[panel][point][tile][width] for some images of a block.
template <class T, int Taps>
void winograd_gradients(const WinogradGradient<T>& from, const WinogradBlock& b, Range images,
                        T* z) {
  constexpr int kPitch = 7 - Taps;
  const Panels<T> panels{from.conv.k};
  const PointPanels<T> z_panels{panels, b.tiles};
  const TiledImage& tiled = from.tiled;
  const T* const dy = from.dy;
  const index k = tiled.channels, across = kPitch * (tiled.blocks ? 2 : 1);
  const Scratch<T> total_scratch(round_up(k, kLanes<T>));
  T* const total = total_scratch.get();  // Σ dy of one image
  for (index image = images.begin; image < images.end; ++image) {
    zero(total, round_up(k, kLanes<T>));
    from.plan.for_tiles(b, image, [&](index tr, index tc, const WinogradTile& t) {
      // The next tile: the hardware prefetcher does not follow short rows.
      for (index r = across * tr; r < smaller(across * (tr + 1), tiled.rows); ++r)
        prefetch(dy + ((image * tiled.rows + r) * tiled.cols + across * (tc + 1)) * k, across * k);
      const auto offsets = b.offsets(t);
      t.with_size([&](auto size) {
        using Columns = OutputGradientTransform<T, size.kRows, Taps>;
        using Rows = OutputGradientTransform<T, size.kCols, Taps>;
        tiled.for_vectors<T>({0, from.conv.k}, 1, [&](index o, index channel, Tail tail) {
          const index p = o / panels.kWidth, width = panels.width(p);
          const TilePoints<T> to(z + z_panels.begin(p), offsets, width, z_panels.step(p));
          const TilePixels area =
              tiled.pixels<T>(kPitch * tr, kPitch * tc, Columns::kIn, Rows::kIn, o);
          const index corner = tiled.at(image, area) + channel;
          const bool whole = tail.count == kLanes<T> && area.whole(Columns::kIn, Rows::kIn);
          // A tile at an edge, or of a tail, is read by way of `edge`.
          Vec<T> edge[Columns::kIn * Rows::kIn];
          if (!whole) load_inside<T>(from, area, corner, edge, Columns::kIn, Rows::kIn, tail);
          const T* const y = whole ? dy + corner : reinterpret_cast<const T*>(edge);
          const PixelSteps step =
              whole ? tiled.steps(area) : PixelSteps{Rows::kIn * kLanes<T>, kLanes<T>};
          Vec<T> sum = load(total + channel);
          const auto summed = [&](int i, int j) __attribute__((always_inline)) {
            const Vec<T> v = load(y + i * step.row + j * step.col);
            sum += v;
            return v;
          };
          transform_2d<Columns, Rows, Vec<T>>(
              ElementSource{summed}, PointWriter<T, size.kCols>(to.moved(o % panels.kWidth)));
          store<T>(total + channel, sum);
        });
      });
    });
    for_vectors<T>(k, [&](index o, auto lanes) {
      const Vec<T> sum = load(total + o);
      store<T>(from.bias + o, load(from.bias + o) + sum);
      if (from.per_image) store<T>(from.per_image + image * k + o, sum, lanes);
    });
  }
}

// ---- dU

// Gᵀ dU G of some channels and panel p: dU[c][point][lane] becomes taps, added to (`first`: stored
// to) partial[panel][weight_row][width].
template <class T, int Taps>
void winograd_taps(const Conv& conv, index p, Range channels, const T* sums, bool first,
                   T* partial) {
  constexpr int kL = kLanes<T>, kWidth = Panels<T>::kWidth;
  const Panels<T> panels{conv.k};
  const index width = panels.width(p);
  T* const to = partial + panels.offset(p, weight_rows(conv));
  for (index c = channels.begin; c < channels.end; ++c, sums += kPoints * kWidth) {
    const index row = weight_row(conv, 0, 0, c);
    const index down = weight_row(conv, 1, 0, c) - row, right = weight_row(conv, 0, 1, c) - row;
    for (index lane = 0; lane < width; lane += kL) {
      const auto point = [&](int i, int j) __attribute__((always_inline)) {
        return load(sums + (6 * i + j) * kWidth + lane);
      };
      const auto put = [&](int i, const Vec<T>(&g)[Taps]) __attribute__((always_inline)) {
#pragma GCC unroll 3
        for (int j = 0; j < Taps; ++j) {
          T* const tap = to + (row + i * down + j * right) * width + lane;
          store<T>(tap, first ? g[j] : load(tap) + g[j]);
        }
      };
      using GT = FilterGradientTransform<T, Taps>;
      transform_2d<GT, GT, Vec<T>>(ElementSource{point}, RowSink{put});
    }
  }
}

// With 32 registers, a register block takes as many channels as it can hold, so all channels of a
// tile are contiguous in V. With 16, several register blocks share the channels of one kBlock, which
// are stored tile after tile: these blocks then read V and Z from L1, which saves a tenth of the time.
inline constexpr bool kContiguousV = kRegisters == 32;

// V and Z of a block, and their product dU.
template <class T>
class WinogradFactors {
 public:
  WinogradFactors(const WinogradInput<T>& input, const WinogradBlock& block,
                  const TileLayout& layout)
      : input_(input),
        block_(block),
        layout_(layout),
        z_panels_{{input.conv.k}, block.tiles},
        v_(kPoints * layout.point),
        z_(z_panels_.size()) {}

  // V and Z of some images. `effective`: null, or these images after the prologue, [images, h, w, c],
  // which are then read instead.
  void make(Range images, const WinogradGradient<T>& gradient, const T* effective) {
    if (effective) {
      const ConvInput<T> plain{effective};
      WinogradBlock from_first = block_;
      from_first.image -= images.begin;
      winograd_inputs({.conv = input_.conv, .plan = input_.plan, .in = plain}, from_first,
                      {0, images.size()}, block_.rows, layout_, v_.get());
    } else {
      winograd_inputs(input_, block_, images, block_.rows, layout_, v_.get());
    }
    const auto gradients =
        input_.conv.kh == 2 ? winograd_gradients<T, 2> : winograd_gradients<T, 3>;
    gradients(gradient, block_, images, z_.get());
  }

  // The taps of some channels and panel p, stored to `partial` or (not `first`) added. A few channels
  // at a time, over all points: their sums become taps, a quarter as many elements, before they
  // leave L1.
  void multiply(index p, Range channels, PrefetchQueue& queue, bool first, T* partial) const {
    const index vectors = z_panels_.panels.vectors(p);
    const Scratch<T> sums(kPoints * kBlock * Panels<T>::kWidth);
    const auto taps = input_.conv.kh == 2 ? winograd_taps<T, 2> : winograd_taps<T, 3>;
    const auto some_channels = [&](index c, index count) {
      for (index point = 0; point < kPoints; ++point)
        multiply_point(p, point, {c, c + count}, queue, sums.get());
      taps(input_.conv, p, {c, c + count}, sums.get(), first, partial);
    };
    if (layout_.tile > kBlock) {
      for_row_blocks(channels.size(), vectors,
                     [&](index row, index count) { some_channels(channels.begin + row, count); });
    } else {
      for (index c = channels.begin; c < channels.end; c += kBlock)
        some_channels(c, smaller(kBlock, channels.end - c));
    }
  }

 private:
  // dU of one point for some channels, of one kBlock unless V's are contiguous, and panel p, to
  // sums[channel][point][lane].
  [[gnu::always_inline]] void multiply_point(index p, index point, Range channels,
                                             PrefetchQueue& queue, T* sums) const {
    constexpr index kWidth = Panels<T>::kWidth;
    const index width = z_panels_.panels.width(p), vectors = z_panels_.panels.vectors(p);
    const index tiles = block_.tiles_of(point), c = channels.begin, count = channels.size();
    const T* vp = v_.get() + point * layout_.point + c / kBlock * layout_.block + c % kBlock;
    const T* zp = z_.get() + z_panels_.begin(p) + point * z_panels_.step(p);
    const Walk walk = straight(tiles, layout_.tile, width);
    // The address to prefetch during a block: of the queue during the first block of a point, then of
    // the next point's V and Z, which are too short for the hardware prefetcher.
    const auto next = [&](index row, index rows) -> const void* {
      if (row == 0) return queue.next(tiles);
      if (point + 1 == kPoints) return nullptr;
      return row + rows < count ? vp + layout_.point : zp + z_panels_.step(p);
    };
    for_row_blocks(count, vectors, [&](index row, index rows) {
      const Output<T> o{.out = sums + (row * kPoints + point) * kWidth,
                        .stride = kPoints * kWidth,
                        .lanes = width,
                        .prefetch = next(row, rows)};
      outer_function<T>(rows, vectors)(vp + row, zp, walk, o);
    });
  }

  const WinogradInput<T>& input_;
  const WinogradBlock block_;
  TileLayout layout_;
  PointPanels<T> z_panels_;
  Scratch<T> v_, z_;
};

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
