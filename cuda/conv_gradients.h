// The gradients of a convolution that are products: what a block of their launch (conv_tiles_backward.cu) computes of them.
#pragma once
#include "cuda/conv_by_tiles.h"
#include "cuda/mma_weights.h"

namespace sfumato::cuda {

// du; dx is the same where there is no normalisation.
template <class T, class Product>
struct InputGradient {
  Tiles<Product> tiles;
  PixelsByParity by_parity;  // where outputs are two pixels apart
  PixelsUnderTaps<T> pixels;
  OutputsOfPixels<T> dy;
  FiltersOfTaps<T> w;
  Normalised<T> input;
  Channels<T> du;  // none: dx is written
  Channels<T> dx;
  Channels<const T> add;
  bool in_runs = whole(input.x) && whole(du) && whole(dx) && whole(add);

  __device__ void operator()(typename Product::Shared& s, unsigned tile) const {
    TilePlace at = tiles(tile);
    if (by_parity.used) {
      const Parity parity = by_parity.parity(tiles.class_of(tile));
      const TapsOfParity taps(dy.s, parity);
      at.end = taps.terms();
      return Product::multiply(s, OutputsOfParity<T>{taps, by_parity, dy.dy, dy.in_chunks},
                               FiltersOfParity<T>{taps, w}, at,
                               [&](unsigned number, unsigned p, const auto& sums) {
                                 write(by_parity.pixel(number, parity), p, sums);
                               });
    }
    multiply<Product>(s, pixels, dy, w, at, [this](unsigned pixel, unsigned p, const auto& sums) {
      write(pixel, p, sums);
    });
  }

 private:
  using Run = Numbers<Wide<T>, Product::kRun>;
  __device__ void write(unsigned pixel, unsigned p, Run sums) const {
    if (du.first) return strip(du, p).store(pixel, sums);
    if (input.silu) {
      const auto x = strip(input.x, p).load(pixel);
      SFUMATO_UNROLL
      for (int i = 0; i < Product::kRun; ++i) sums.of[i] *= input.slope(x.of[i]);
    }
    sums += strip(add, p).load(pixel);
    strip(dx, p).store(pixel, sums);
  }
  template <class V>
  static bool whole(const Channels<V>& pixels) {
    return pixels.template in_runs<Product::kRun>();
  }
  template <class V>
  __device__ Strip<V, Product::kRun> strip(const Channels<V>& pixels, unsigned p) const {
    return {pixels, in_runs, p, tiles.cols};
  }
};

// Whether tiles of T may be MmaWeights.
template <class T, class Product>
inline constexpr bool kByTaps = Product::kReadsChunks&& std::is_same_v<T, bf16>;

// How many tiles there are, by taps or not.
template <class T, class Product>
unsigned tiles_of_weights(const Tiles<Product>& tiles, const PixelsUnderTaps<T>& by_taps,
                          const TapsOfTile& taps) {
  return by_taps.channels > 0 ? taps.count() * tiles.across : tiles.count();
}

// dw [o, p, tap]. Blocks share the terms, `share` of them each; their sums, partial [shares, (tap, p), o], are added in a second
// phase.
template <class T, class Product>
struct WeightGradient {
  Tiles<Product> tiles;
  PixelsUnderTaps<T> pixels;  // with channels where they are copied once for all taps
  TapsOfTile taps;
  TapsOfWindows<T> u;
  OutputGradients<T> dy;
  unsigned share, shares;
  Wide<T>*partial, *dw;  // no partial if there is one share
  Divisor cols{tiles.cols < 1 ? 1 : tiles.cols};
  bool in_runs = Channels<Wide<T>>{partial, tiles.cols}.template in_runs<Product::kRun>();

  constexpr unsigned size() const { return tiles.rows * tiles.cols; }
  unsigned blocks() const { return dw ? tiles_of_weights(tiles, pixels, taps) * shares : 0; }
  unsigned adding_blocks() const {
    return dw && shares > 1 ? ceil_divide(size(), Product::kThreads) : 0;
  }

  __device__ void operator()(typename Product::Shared& s, unsigned block) const {
    const unsigned part = block % shares;
    auto at = tiles(block / shares);
    at.begin = part * share;
    at.end = at.begin + share < tiles.terms ? at.begin + share : tiles.terms;
    const Channels<Wide<T>> to{partial + static_cast<index>(part) * size(), tiles.cols};
    const auto write = [this, &to](unsigned column, unsigned o, const auto& sums) {
      if (shares > 1)
        return Strip<Wide<T>, Product::kRun>(to, in_runs, o, tiles.cols).store(column, sums);
      SFUMATO_UNROLL
      for (unsigned i = 0; i < Product::kRun; ++i)
        if (o + i < tiles.cols) dw[place(column, o + i)] = sums.of[i];
    };
    if constexpr (kByTaps<T, Product>)
      if (pixels.channels > 0) {
        const unsigned tile = block / shares, of_taps = tile / tiles.across;
        const TapsPlace of_tile{of_taps / taps.across() * taps.taps,
                                of_taps % taps.across() * taps.of_tile,
                                tile % tiles.across * Product::kN,
                                tiles.cols,
                                at.begin,
                                at.end};
        return MmaWeights<Product::kN>::multiply(s, taps, pixels, dy, of_tile, write);
      }
    Product::multiply(s, u, dy, at, write);
  }
  __device__ void add(unsigned block) const {
    const unsigned i = block * Product::kThreads + threadIdx.x;
    if (i >= size()) return;
    double sum = 0;
    for (unsigned part = 0; part < shares; ++part)
      sum += static_cast<double>(partial[static_cast<index>(part) * size() + i]);
    dw[place(i / cols, i % cols)] = static_cast<Wide<T>>(sum);
  }

 private:
  __device__ unsigned place(unsigned column, unsigned o) const {
    return o * tiles.rows + place_in_filter(u.u.s, column);
  }
};

// The gradients of a convolution that multiply: those of its input and of its weights.
// ToInput and ToWeights: their tiles, of one kind.
template <class T, class ToInput, class ToWeights>
struct Gradients {
  ByTap<T> filters;
  InputGradient<T, ToInput> dx;
  WeightGradient<T, ToWeights> dw;
};

}  // namespace sfumato::cuda
