#include "cuda/conv_by_tiles.h"
#include "cuda/conv_tiles.h"
#include "cuda/image_events.h"
#include "cuda/norm_groups.h"

namespace sfumato::cuda {
namespace {

using kernels::ConvOutput;
using kernels::ConvShortcut;

enum Event : unsigned { kFilters, kFirstImage };

// Where sums go, kRun of a pixel at once, and what is added to them: arrays [pixels, k], or of one row for all pixels or images.
template <class T, int kRun>
struct Output {
  unsigned k;
  Divisor pixels;  // of an image
  Channels<T> y;
  Channels<const T> residual;  // y itself if there is a shortcut
  Channels<const Wide<T>> bias, per_image, shortcut_bias;
  bool in_runs = whole(y) && whole(residual);
  bool biases_in_runs = whole(bias) && whole(per_image) && whole(shortcut_bias);

  using Run = Numbers<Wide<T>, kRun>;
  __device__ void write_shortcut(unsigned pixel, unsigned o, Run sums) const {
    sums += strip(shortcut_bias, biases_in_runs, o).load(0);
    strip(y, in_runs, o).store(pixel, sums);
  }
  __device__ void write(unsigned pixel, unsigned o, Run sums) const {
    sums += strip(bias, biases_in_runs, o).load(0);
    sums += strip(per_image, biases_in_runs, o).load(pixel / pixels);
    sums += strip(residual, in_runs, o).load(pixel);
    strip(y, in_runs, o).store(pixel, sums);
  }

 private:
  template <class V>
  static bool whole(const Channels<V>& rows) {
    return rows.template in_runs<kRun>();
  }
  template <class V>
  __device__ Strip<V, kRun> strip(const Channels<V>& rows, bool in_runs, unsigned o) const {
    return {rows, in_runs, o, k};
  }
};

// A convolution that is added to y.
template <class T>
struct Shortcut {
  WindowsOfPixels<T> windows;
  Filters<T> w;
  unsigned terms;  // 0: none
};

template <class T, class Product>
struct Forward {
  static constexpr int kThreads = Product::kThreads, kBlocksAtOnce = Product::kBlocksAtOnce;
  struct Shared {
    Phases::Shared phases;
    union {
      typename Product::Shared tile;
      BandSums<T> norm;
    };
  };
  Phases phases;
  // Of what tiles wait for: filters tap by tap, and the normalisation's statistics with, if it has an array, u.
  unsigned filter_blocks, shortcut_filter_blocks, norm_blocks;
  ByTap<T> filters, shortcut_filters;
  NormStatistics<T> statistics;
  Activations<T> u;
  ImageEvents images;  // whose statistics, and u, are there
  Tiles<Product> tiles;
  PixelsByParity by_parity;  // where pixels are doubled and filters summed
  Shortcut<T> shortcut;
  PixelsUnderTaps<T> pixels;
  WindowsOfPixels<T> windows;
  Filters<T> w;
  Output<T, Product::kRun> out;  // whose residual is y itself if there is a shortcut

  __device__ unsigned all_filter_blocks() const { return filter_blocks + shortcut_filter_blocks; }
  __device__ void operator()() const {
    Shared& s = shared<Shared>();
    if (all_filter_blocks() + norm_blocks == 0) return add_products(s, blockIdx.x);
    work(s, phases.begin(s.phases));
    phases.end(s.phases);
  }
  __device__ void work(Shared& s, unsigned block) const {
    if (is_of(filter_blocks, block)) {
      filters(block);
      phases.count(kFilters);
    } else if (is_of(shortcut_filter_blocks, block)) {
      shortcut_filters(block);
      phases.count(kFilters);
    } else if (is_of(norm_blocks, block)) {
      const Band<T> band(statistics.share, block);
      statistics(s.norm, band);
      if (u.u.first) {
        __syncthreads();
        u(band);
      }
      phases.count(images.of_image(band.image));
    } else {
      if (all_filter_blocks() > 0) phases.wait(kFilters, all_filter_blocks());
      if (norm_blocks > 0) wait_for_images(tiles(block));
      add_products(s, block);
    }
  }
  __device__ void wait_for_images(const TilePlace& at) const {
    const unsigned end = at.row + Product::kM < at.rows ? at.row + Product::kM : at.rows;
    for (unsigned e = images.of_pixel(at.row); e <= images.of_pixel(end - 1); ++e)
      phases.wait(e, images.images(e) * statistics.share.blocks_of_image());
  }
  // y of the shortcut first, if there is one: what a thread has written there it adds to its sums.
  __device__ void add_products(Shared& s, unsigned tile) const {
    const TilePlace at = tiles(tile);
    if (shortcut.terms > 0) {
      const TilePlace whole{at.row, at.rows, at.col, at.cols, 0, shortcut.terms};
      Product::multiply(s.tile, shortcut.windows, shortcut.w, whole,
                        [this](unsigned pixel, unsigned o, const auto& sums) {
                          out.write_shortcut(pixel, o, sums);
                        });
      __syncthreads();  // before shared memory is used again
    }
    const unsigned number = tiles.class_of(tile);
    const Parity parity = by_parity.parity(number);
    const Filters<T> filters_of_class{w.s, w.weights, number * pixels.taps() * pixels.channels};
    multiply<Product>(s.tile, by_parity.used ? pixels.of(parity) : pixels, windows,
                      filters_of_class, at, [&](unsigned pixel, unsigned o, const auto& sums) {
                        out.write(by_parity.pixel(pixel, parity), o, sums);
                      });
  }
};

template <class T, class Product>
void forward(const Conv& s, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out) {
  const Extents e(s, in.upsample);
  const Normalised<T> input = reads(s, in);
  const InputOfProducts<T, Product> u(norm_of(s, in), input);
  PixelsUnderTaps<T> taps;
  if (u.u().plain()) taps = under_taps<T, Product>(s, in.upsample, u.u().x, false);
  PixelsByParity by_parity{Divisor(e.uh), Divisor(e.uw)};
  if (in.upsample && !out.shortcut) {
    taps = doubled_under_taps<T, Product>(s, input);
    by_parity.used = taps.channels > 0;
  }
  const FiltersByTap<T, Product> filters(
      e, narrow(s.k), w, true, by_parity.used ? TapOrder::summed_by_parity : TapOrder::plain);
  const ConvShortcut<T> other = out.shortcut ? *out.shortcut : ConvShortcut<T>{s, in, w};
  const Extents other_e(other.conv, other.in.upsample);
  const FiltersByTap<T, Product> other_filters(other_e, narrow(s.k), other.w,
                                               out.shortcut != nullptr);
  const GroupShare<T> share(norm_of(s, in));
  const ImageEvents images(kFirstImage, narrow(s.n), e.pixels);
  const unsigned norm_blocks = narrow(s.n) * (in.groups > 0 ? share.blocks_of_image() : 0);
  const unsigned k = narrow(s.k);
  const unsigned classes = by_parity.classes();
  const Tiles<Product> tiles(narrow(s.n) * e.pixels / classes, k,
                             by_parity.used ? narrow(s.c) * taps.taps() : e.columns(), classes);
  launch({filters.blocks() + other_filters.blocks() + norm_blocks + tiles.count()},
         Forward<T, Product>{Phases(kFirstImage + images.count()),
                             filters.blocks(),
                             other_filters.blocks(),
                             norm_blocks,
                             filters.making(),
                             other_filters.making(),
                             {share, in.eps, input.x, in.mean, in.rstd},
                             u.making(),
                             images,
                             tiles,
                             by_parity,
                             {{{other_e, reads(other.conv, other.in)}},
                              {other_e, other_filters.weights()},
                              out.shortcut ? other_e.columns() : 0},
                             taps,
                             {{e, u.u()}},
                             {filters.extents(), filters.weights()},
                             {k,
                              Divisor(e.pixels),
                              {out.y, k},
                              {out.shortcut ? out.y : out.residual, k},
                              {out.bias, k},
                              {out.per_image, k},
                              {out.shortcut ? other.bias : nullptr, k}}});
}

}  // namespace

template <class T>
void conv_forward_by_tiles(const Conv& s, const ConvInput<T>& in, const T* w,
                           const ConvOutput<T>& out) {
  with_tile<T>(narrow(s.k), [&]<class Product>(Product) { forward<T, Product>(s, in, w, out); });
}

#define SFUMATO_INSTANTIATE(T)                                                    \
  template void conv_forward_by_tiles(const Conv&, const ConvInput<T>&, const T*, \
                                      const ConvOutput<T>&);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(double)
SFUMATO_INSTANTIATE(bf16)

}  // namespace sfumato::cuda
