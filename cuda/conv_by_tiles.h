// What convolutions by tiles (conv_tiles.h) do forward and backward alike: how a product is cut into tiles, and how what
// tensor cores read is laid out for them first.
#pragma once
#include <algorithm>

#include "cuda/conv_factors.h"
#include "cuda/gemm.h"
#include "cuda/memory.h"
#include "cuda/mma_tile.h"
#include "cuda/norm_groups.h"
#include "cuda/tile.h"

namespace sfumato::cuda {

constexpr unsigned ceil_divide(unsigned n, unsigned d) { return (n + d - 1) / d; }

// f(tile) of the tile that multiplies as P says, for products of `cols` columns. Its type alone counts.
template <template <class, int> class Product, class P, class F>
void of_width(unsigned cols, const F& f) {
  if constexpr (!std::is_same_v<P, AsTwoTf32>)  // whose fragments take twice the registers
    if (cols > 32) return f(Product<P, 64>());
  if constexpr (std::is_same_v<P, AsBf16>)
    if (cols <= 16) return f(Product<P, 16>());
  f(Product<P, 32>());
}
// The same, of T.
template <class T, class F>
void with_tile(unsigned cols, const F& f) {
  if constexpr (std::is_same_v<T, double>)
    of_width<Tile, T>(cols, f);
  else
    with_products<T>([&]<class P>(P) { of_width<MmaTile, P>(cols, f); });
}

// f(tile, tile) of two that are used in one launch. (Those that are not for tensor cores have the same width.)
template <class T, class F>
void with_two_tiles(unsigned first_cols, unsigned second_cols, const F& f) {
  if constexpr (std::is_same_v<T, double>)
    of_width<Tile, T>(std::max(first_cols, second_cols),
                      [&]<class Both>(Both both) { f(both, both); });
  else
    with_products<T>([&]<class P>(P) {
      of_width<MmaTile, P>(first_cols, [&]<class First>(First first) {
        of_width<MmaTile, P>(second_cols, [&]<class Second>(Second second) { f(first, second); });
      });
    });
}

// Tiles of a product, one row of tiles after another; or of several, one for each class of rows, a tile of each class in turn.
template <class Product>
struct Tiles {
  unsigned rows, cols, terms;  // of a class
  Divisor across, classes;

  Tiles(unsigned rows, unsigned cols, unsigned terms, unsigned classes = 1)
      : rows(rows),
        cols(cols),
        terms(terms),
        across(std::max(1u, ceil_divide(cols, Product::kN))),
        classes(classes) {}
  unsigned count() const {
    return cols == 0 ? 0 : ceil_divide(rows, Product::kM) * across * classes;
  }
  __device__ TilePlace operator()(unsigned tile) const {
    return {
        tile / across / classes * Product::kM, rows, tile % across * Product::kN, cols, 0, terms};
  }
  __device__ unsigned class_of(unsigned tile) const { return tile / across % classes; }
};

// Whether `block` is one of `count`; counts them off if not.
constexpr bool is_of(unsigned count, unsigned& block) {
  if (block < count) return true;
  block -= count;
  return false;
}

// How filters are laid out, tap by tap. Where pixels are doubled, two copies of one come under neighbouring taps, so these are
// summed: tap t of the sums is w's t - 1 and t, on both sides. An output 2 i + y meets those of its parity, y and y + 2, which
// lie side by side in the last order: [parity, two by two taps].
enum class TapOrder { plain, summed, summed_by_parity };

// to [o, tap, p] = w [o, p, tap].
template <class T>
struct ByTap {
  static constexpr unsigned kThreads = 256, kOfBlock = 8 * kThreads;
  TapOrder order;
  Extents s, to_s;  // of w, and of `to`
  Divisor columns;
  const T* w;
  T* to;
  unsigned size;

  unsigned blocks() const { return ceil_divide(size, kOfBlock); }
  __device__ void operator()(unsigned block) const {
    for (unsigned i = block * kOfBlock + threadIdx.x; i < size && i < (block + 1) * kOfBlock;
         i += kThreads) {
      const unsigned o = i / columns, term = i % columns, p = term % s.c, tap = term / s.c;
      const T* const filter = w + (static_cast<index>(o) * s.c + p) * s.taps;
      to[i] = order == TapOrder::plain ? filter[tap] : static_cast<T>(sum(filter, tap));
    }
  }

 private:
  __device__ Wide<T> sum(const T* filter, unsigned tap) const {
    unsigned y = tap / to_s.kw, x = tap % to_s.kw;
    if (order == TapOrder::summed_by_parity)
      y = tap / 8 + tap / 2 % 2 * 2, x = tap / 4 % 2 + tap % 2 * 2;
    Wide<T> sum = 0;
    for (unsigned u = y > 0 ? y - 1 : 0; u <= y && u < s.kh; ++u)
      for (unsigned v = x > 0 ? x - 1 : 0; v <= x && v < s.kw; ++v) sum += filter[u * s.kw + v];
    return sum;
  }
};

// The filters for the products of a launch. They are laid out tap by tap, by blocks of the launch, where tensor cores
// multiply chunks of them and they do not lie so already, as those of one tap do.
template <class T, class Product>
class FiltersByTap {
 public:
  // `order`: of those that are laid out.
  FiltersByTap(const Extents& e, unsigned k, const T* w, bool wanted = true,
               TapOrder order = TapOrder::plain)
      : w_(w),
        lie_so_(Product::kReadsChunks && e.taps == 1u && in_chunks(e.c, w)),
        made_(wanted && Product::kReadsChunks && !lie_so_ && e.c % kOfChunk<T> == 0),
        sums_(made_ && order != TapOrder::plain),
        extents_(sums_ ? e.with_summed_taps() : e),
        size_(made_ ? k * extents_.columns() : 0),
        room_(size_),
        making_{order, e, extents_, Divisor(extents_.columns()), w, room_.get(), size_} {}

  Weights<T> weights() const { return {w_, made_ ? room_.get() : lie_so_ ? w_ : nullptr}; }
  const ByTap<T>& making() const { return making_; }
  unsigned blocks() const { return making_.blocks(); }
  bool sums() const { return sums_; }
  const Extents& extents() const { return extents_; }  // of weights()

 private:
  const T* w_;
  bool lie_so_, made_, sums_;
  Extents extents_;
  unsigned size_;  // of what is made
  Scratch<T> room_;
  ByTap<T> making_;
};

// The pixels x [n * h * w] under the taps of s, for products that keep them in shared memory for all taps; without channels where
// they do not: another kind of tile, strides, upsampled pixels, paddings that differ, wide pictures, odd channels.
// Channels come in 32 bytes.
template <class T, class Product>
PixelsUnderTaps<T> under_taps(const Conv& s, bool upsample, const Channels<const T>& x,
                              bool mirrored) {
  if constexpr (Product::kReadsChunks) {
    const index channels = x.count + x.rest, halo = s.pad_top * s.w + s.pad_left;
    const bool every_pixel = s.stride == 1 && !upsample && s.oh == s.h && s.ow == s.w &&
                             s.kh == 2 * s.pad_top + 1 && s.kw == 2 * s.pad_left + 1;
    if (every_pixel && s.kh * s.kw > 4 && s.kh * s.kw < 32 &&
        halo <= static_cast<index>(Product::kMostHalo) && channels % (2 * kOfChunk<T>) == 0 &&
        x.in_chunks())
      return {x,
              narrow(channels),
              narrow(s.n * s.h * s.w),
              Divisor(narrow(s.h * s.w)),
              Divisor(narrow(s.h)),
              Divisor(narrow(s.w)),
              static_cast<int>(s.kh),
              static_cast<int>(s.kw),
              static_cast<int>(s.pad_top),
              static_cast<int>(s.pad_left),
              mirrored};
  }
  return {};
}

// The same of a picture that is doubled, whose 3x3 filters are summed: those of a class of its pixels are under
// PixelsUnderTaps::of().
template <class T, class Product>
PixelsUnderTaps<T> doubled_under_taps(const Conv& s, const Normalised<T>& u) {
  if constexpr (Product::kReadsChunks) {
    const index h = s.h / 2, w = s.w / 2;
    const bool as_large = s.oh == s.h && s.ow == s.w && s.stride == 1 && s.kh == 3 && s.kw == 3 &&
                          s.pad_top == 1 && s.pad_left == 1;
    if (as_large && u.plain() && u.x.in_chunks() && s.c % Product::kK == 0 &&
        w < static_cast<index>(Product::kMostHalo))
      return {u.x,
              narrow(s.c),
              narrow(s.n * h * w),
              Divisor(narrow(h * w)),
              Divisor(narrow(h)),
              Divisor(narrow(w)),
              2,
              2,
              1,
              1,
              false};
  }
  return {};
}

// The products of a tile: by taps where there are pixels for it, otherwise with `a`.
template <class Product, class T, class A, class B, class F>
__device__ void multiply(typename Product::Shared& s, const PixelsUnderTaps<T>& pixels, const A& a,
                         const B& b, const TilePlace& at, const F& write) {
  if constexpr (Product::kReadsChunks)
    if (pixels.channels > 0) return Product::multiply_taps(s, pixels, b, at, write);
  Product::multiply(s, a, b, at, write);
}

// u for the products of a launch: an array of its own, made by blocks of the launch, where tensor cores multiply chunks of
// what is normalised; otherwise computed from x where it is read.
template <class T, class Product>
class InputOfProducts {
 public:
  InputOfProducts(const kernels::GroupNorm& s, const Normalised<T>& from, bool wanted = true)
      : is_made_(wanted && Product::kReadsChunks && from.groups > 0 && s.c % kOfChunk<T> == 0),
        room_(static_cast<std::size_t>(is_made_ ? s.n * s.hw * s.c : 0)),
        making_{GroupShare<T>(s), from, {is_made_ ? room_.get() : nullptr, narrow(s.c)}},
        u_(is_made_ ? Normalised<T>{{room_.get(), narrow(s.c)}} : from),
        blocks_(is_made_ ? narrow(s.n) * making_.share.blocks_of_image() : 0) {}

  const Normalised<T>& u() const { return u_; }
  const Activations<T>& making() const { return making_; }
  unsigned blocks() const { return blocks_; }

 private:
  bool is_made_;
  Scratch<T> room_;
  Activations<T> making_;
  Normalised<T> u_;
  unsigned blocks_;
};

}  // namespace sfumato::cuda
