#include "cuda/column_sums.h"
#include "cuda/conv_gradients.h"
#include "cuda/conv_tiles.h"
#include "cuda/image_events.h"
#include "cuda/norm_groups.h"

namespace sfumato::cuda {
namespace {

using kernels::ConvGradients;
using kernels::ConvShortcut;

// The blocks of each kind of work of a convolution, or of its shortcut.
struct ProductBlocks {
  unsigned filters, dx, dw, add_dw;
  constexpr unsigned all() const { return filters + dx + dw + add_dw; }
};
// In the order of their numbers: those of a line wait for the lines before.
//   filters, u
//   dx, dw, sums
//   norm, add_dw, db
//   gamma
struct Blocks {
  ProductBlocks main, shortcut;
  unsigned u, sums, norm, db, gamma;
  constexpr unsigned all() const {
    return main.all() + shortcut.all() + u + sums + norm + db + gamma;
  }
  constexpr bool waits() const {
    return main.filters + shortcut.filters + u + norm + main.add_dw + shortcut.add_dw + db + gamma >
           0;
  }
};
enum Event : unsigned {
  kFilters,
  kShortcutFilters,
  kInput,
  kWeights,
  kShortcutWeights,
  kSums,
  kNorm,
  kFirstImage
};

template <class T, class ToInput, class ToWeights>
struct Backward {
  static constexpr int kThreads = ToInput::kThreads, kBlocksAtOnce = ToInput::kBlocksAtOnce;
  struct Shared {
    Phases::Shared phases;
    union {
      typename ToInput::Shared to_input;
      typename ToWeights::Shared to_weights;
      BandSums<T> norm;
      ColumnSumsShared sums;
    };
  };
  using Products = Gradients<T, ToInput, ToWeights>;
  Phases phases;
  Blocks blocks;
  Products main, shortcut;
  Activations<T> u;
  ColumnSums<T, Wide<T>> sums;      // of dy, over some pixels
  ColumnSums<Wide<T>, Wide<T>> db;  // of these sums
  NormBackward<T> norm;
  ColumnSums<double, Wide<T>> gamma;  // dgamma and dbeta
  ImageEvents images;                 // whose du is there

  __device__ void operator()() const {
    Shared& s = shared<Shared>();
    unsigned block = blocks.waits() ? phases.begin(s.phases) : blockIdx.x;
    work(s, block);
    if (blocks.waits()) phases.end(s.phases);
  }
  __device__ void work(Shared& s, unsigned block) const {
    if (is_of(blocks.main.filters, block)) {
      main.filters(block);
      phases.count(kFilters);
    } else if (is_of(blocks.shortcut.filters, block)) {
      shortcut.filters(block);
      phases.count(kShortcutFilters);
    } else if (is_of(blocks.u, block)) {
      u(Band<T>(u.share, block));
      phases.count(kInput);
    } else if (is_of(blocks.main.dx + blocks.shortcut.dx, block)) {
      input_gradient(s, block);
    } else if (is_of(blocks.main.dw + blocks.shortcut.dw, block)) {
      weight_gradient(s, block);
    } else if (is_of(blocks.sums, block)) {
      sums(s.sums, block);
      if (blocks.db > 0) phases.count(kSums);
    } else if (is_of(blocks.norm, block)) {
      const Band<T> band(norm.share, block);
      const unsigned e = images.of_image(band.image);
      phases.wait(e, images.tiles(e, ToInput::kM) * main.dx.tiles.across);
      norm(s.norm, band);
      phases.count(kNorm);
    } else if (is_of(blocks.main.add_dw, block)) {
      phases.wait(kWeights, blocks.main.dw);
      main.dw.add(block);
    } else if (is_of(blocks.shortcut.add_dw, block)) {
      phases.wait(kShortcutWeights, blocks.shortcut.dw);
      shortcut.dw.add(block);
    } else if (is_of(blocks.db, block)) {
      phases.wait(kSums, blocks.sums);
      db(s.sums, block);
    } else {
      phases.wait(kNorm, blocks.norm);
      gamma(s.sums, block);
    }
  }
  __device__ void input_gradient(Shared& s, unsigned block) const {
    const bool is_main = is_of(blocks.main.dx, block);
    const Products& of = is_main ? main : shortcut;
    const unsigned filters = is_main ? blocks.main.filters : blocks.shortcut.filters;
    if (filters > 0) phases.wait(is_main ? kFilters : kShortcutFilters, filters);
    of.dx(s.to_input, block);
    if (!is_main || blocks.norm == 0) return;
    const TilePlace at = of.dx.tiles(block);
    const unsigned end = at.row + ToInput::kM < at.rows ? at.row + ToInput::kM : at.rows;
    for (unsigned e = images.of_pixel(at.row); e <= images.of_pixel(end - 1); ++e) phases.count(e);
  }
  __device__ void weight_gradient(Shared& s, unsigned block) const {
    const bool is_main = is_of(blocks.main.dw, block);
    const Products& of = is_main ? main : shortcut;
    if (is_main && blocks.u > 0) phases.wait(kInput, blocks.u);
    of.dw(s.to_weights, block);
    if ((is_main ? blocks.main : blocks.shortcut).add_dw > 0)
      phases.count(is_main ? kWeights : kShortcutWeights);
  }
};

// How many terms of the weights' gradient a block sums: a number that depends on sizes alone, so that results do not
// depend on the GPU.
unsigned terms_of_block(unsigned terms, unsigned tiles) {
  constexpr unsigned kLeast = 256, kBlocks = 256;
  const unsigned shares = std::max(1u, kBlocks / std::max(1u, tiles));
  return std::max(kLeast, ceil_divide(terms, shares));
}

// db and per_image are sums of dy over pixels: first over as many as an image has, where its sums are wanted, otherwise over
// 512; then db over these. A shortcut's db is the same.
template <class T>
class BiasSums {
 public:
  BiasSums(const Conv& s, const T* dy, const ConvGradients<T>& g, Wide<T>* shortcut_db)
      : share_(g.per_image ? s.oh * s.ow : 512),
        count_(g.per_image ? s.n : (s.n * s.oh * s.ow + share_ - 1) / share_),
        once_(!g.per_image && count_ == 1),
        to_(g.db ? g.db : shortcut_db),
        copy_(g.db ? shortcut_db : nullptr),
        room_(static_cast<std::size_t>(to_ && !g.per_image && !once_ ? count_ * s.k : 0)),
        of_pixels_(g.per_image ? g.per_image
                   : once_     ? to_
                               : room_.get()),
        wanted_(to_ || g.per_image),
        sums_{s.n * s.oh * s.ow,      share_, narrow(s.k), dy, {of_pixels_, narrow(s.k)},
              once_ ? copy_ : nullptr},
        db_{count_, count_, narrow(s.k), of_pixels_, {to_, narrow(s.k)}, copy_} {}

  const ColumnSums<T, Wide<T>>& sums() const { return sums_; }
  const ColumnSums<Wide<T>, Wide<T>>& db() const { return db_; }
  unsigned blocks() const { return wanted_ ? narrow(count_) * sums_.blocks() : 0; }
  unsigned adding_blocks() const { return to_ && !once_ ? db_.blocks() : 0; }

 private:
  index share_, count_;
  bool once_;  // the first sums are db already
  Wide<T>*to_, *copy_;
  Scratch<Wide<T>> room_;
  Wide<T>* of_pixels_;
  bool wanted_;
  ColumnSums<T, Wide<T>> sums_;
  ColumnSums<Wide<T>, Wide<T>> db_;
};

// What multiplies for the gradients of one convolution, and the memory that it needs.
template <class T, class ToInput, class ToWeights>
class GradientProducts {
 public:
  // `u`: what was convolved; du: where its gradient goes, null: dx.
  GradientProducts(const Conv& s, const ConvInput<T>& in, const Normalised<T>& u, const T* dy,
                   const T* w, const ConvGradients<T>& g, T* du)
      : dx_wanted_(g.dx != nullptr),
        dw_(g.dw),
        e_(s, in.upsample),
        filters_(e_, narrow(s.k), w, dx_wanted_, in.upsample ? TapOrder::summed : TapOrder::plain),
        by_parity_(outputs_apart(s, in, e_)),
        outputs_{filters_.extents(), dy, filters_.sums() ? Divisor(1) : e_.scale},
        weights_(e_.columns(), narrow(s.k), narrow(s.n) * e_.pixels),
        taps_(narrow(s.c)),
        by_taps_(weights_by_taps(s, in, u)),
        terms_(terms_of_block(weights_.terms, tiles_of_weights(weights_, by_taps_, taps_))),
        shares_(ceil_divide(weights_.terms, terms_)),
        of_shares_(dw_ && shares_ > 1
                       ? static_cast<std::size_t>(shares_) * weights_.rows * weights_.cols
                       : 0),
        products_{filters_.making(),
                  {{narrow(norm_of(s, in).n * norm_of(s, in).hw) / by_parity_.classes(),
                    narrow(s.c), outputs_.terms(), by_parity_.classes()},
                   by_parity_,
                   under_taps<T, ToInput>(s, in.upsample, {dy, narrow(s.k)}, true),
                   outputs_,
                   {filters_.extents(), filters_.weights()},
                   reads(s, in),
                   {du, narrow(s.c)},
                   gradient_of(s, in, g),
                   added_of(s, in, g)},
                  {weights_,
                   by_taps_,
                   taps_,
                   {{e_, u}},
                   {narrow(s.k), dy},
                   terms_,
                   shares_,
                   of_shares_.get(),
                   dw_}} {}

  static Channels<T> gradient_of(const Conv& s, const ConvInput<T>& in, const ConvGradients<T>& g) {
    return {g.dx, narrow(s.c - in.skip_channels), g.dskip, narrow(in.skip_channels)};
  }
  static Channels<const T> added_of(const Conv& s, const ConvInput<T>& in,
                                    const ConvGradients<T>& g) {
    return {g.add, narrow(s.c - in.skip_channels), g.add_skip, narrow(in.skip_channels)};
  }
  const Gradients<T, ToInput, ToWeights>& products() const { return products_; }
  ProductBlocks blocks() const {
    return {.filters = filters_.blocks(),
            .dx = dx_wanted_ ? products_.dx.tiles.count() : 0,
            .dw = products_.dw.blocks(),
            .add_dw = products_.dw.adding_blocks()};
  }

 private:
  // Where tensor cores multiply, outputs are two pixels apart, and there is no normalisation (whose images' pixels follow one
  // another in tiles).
  static PixelsByParity outputs_apart(const Conv& s, const ConvInput<T>& in, const Extents& e) {
    const index most = static_cast<index>(TapsOfParity::kMost);
    return {Divisor(std::max(1u, e.uh / 2)), Divisor(std::max(1u, e.uw / 2)),
            ToInput::kReadsChunks && s.stride == 2 && s.h % 2 == 0 && s.w % 2 == 0 &&
                s.kh <= most && s.kw <= most && !in.upsample && in.groups == 0};
  }
  static PixelsUnderTaps<T> weights_by_taps(const Conv& s, const ConvInput<T>& in,
                                            const Normalised<T>& u) {
    if (!kByTaps<T, ToWeights> || !u.plain() || s.kh != 3 || s.kw != 3) return {};
    return under_taps<T, ToWeights>(s, in.upsample, u.x, false);
  }

  bool dx_wanted_;
  Wide<T>* dw_;
  Extents e_;
  FiltersByTap<T, ToInput> filters_;
  PixelsByParity by_parity_;
  OutputsOfPixels<T> outputs_;
  Tiles<ToWeights> weights_;
  TapsOfTile taps_;
  PixelsUnderTaps<T> by_taps_;
  unsigned terms_, shares_;
  Scratch<Wide<T>> of_shares_;
  Gradients<T, ToInput, ToWeights> products_;
};

template <class T, class ToInput, class ToWeights>
void backward(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
              const ConvGradients<T>& g) {
  using Products = GradientProducts<T, ToInput, ToWeights>;
  const Normalised<T> input = reads(s, in);
  const kernels::GroupNorm norm = norm_of(s, in);
  const GroupShare<T> share(norm);
  const unsigned n = narrow(s.n), c = narrow(s.c);
  const bool normalises = g.dx && in.groups > 0;

  const InputOfProducts<T, ToWeights> u(norm, input, g.dw != nullptr);
  const Scratch<T> du(static_cast<std::size_t>(normalises ? norm.n * norm.hw * norm.c : 0));
  const Scratch<double> of_groups(static_cast<std::size_t>(normalises ? s.n * 2 * s.c : 0));
  const Products main(s, in, u.u(), dy, w, g, normalises ? du.get() : nullptr);

  const ConvShortcut<T> other = g.shortcut ? *g.shortcut : ConvShortcut<T>{s, in, w};
  const ConvGradients<T> of_other = g.shortcut ? *g.of_shortcut : ConvGradients<T>{};
  const Products shortcut(other.conv, other.in, reads(other.conv, other.in), dy, other.w, of_other,
                          nullptr);

  const BiasSums<T> bias(s, dy, g, of_other.db);
  const ColumnSums<double, Wide<T>> gamma{
      s.n, s.n, 2 * c, of_groups.get(), {g.dgamma, c, g.dbeta, c}};

  const ImageEvents images(kFirstImage, n, narrow(norm.hw));
  const Blocks blocks{.main = main.blocks(),
                      .shortcut = shortcut.blocks(),
                      .u = u.blocks(),
                      .sums = bias.blocks(),
                      .norm = normalises ? n * share.blocks_of_image() : 0,
                      .db = bias.adding_blocks(),
                      .gamma = normalises ? gamma.blocks() : 0};
  launch({blocks.all()}, Backward<T, ToInput, ToWeights>{Phases(kFirstImage + images.count()),
                                                         blocks,
                                                         main.products(),
                                                         shortcut.products(),
                                                         u.making(),
                                                         bias.sums(),
                                                         bias.db(),
                                                         {share,
                                                          input,
                                                          {du.get(), c},
                                                          Products::gradient_of(s, in, g),
                                                          Products::added_of(s, in, g),
                                                          of_groups.get()},
                                                         gamma,
                                                         images});
}

}  // namespace

template <class T>
void conv_backward_by_tiles(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                            const ConvGradients<T>& g) {
  with_two_tiles<T>(narrow(s.c), narrow(s.k),
                    [&]<class ToInput, class ToWeights>(ToInput, ToWeights) {
                      backward<T, ToInput, ToWeights>(s, in, dy, w, g);
                    });
}

#define SFUMATO_INSTANTIATE(T)                                                               \
  template void conv_backward_by_tiles(const Conv&, const ConvInput<T>&, const T*, const T*, \
                                       const ConvGradients<T>&);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(double)
SFUMATO_INSTANTIATE(bf16)

}  // namespace sfumato::cuda
