#include "cuda/column_sums.h"
#include "cuda/conv_by_tiles.h"
#include "cuda/conv_tiles.h"
#include "cuda/image_events.h"
#include "cuda/norm_groups.h"

namespace sfumato::cuda {
namespace {

using kernels::ConvGradients;

constexpr int kThreads = 256;

// du; dx is the same where there is no normalisation.
template <class T, class Product>
struct InputGradient {
  Tiles<Product> tiles;
  OutputsOfPixels<T> dy;
  FiltersOfTaps<T> w;
  Normalised<T> input;
  T* du;  // null: dx is written
  Channels<T> dx;
  Channels<const T> add;

  __device__ void operator()(typename Product::Shared& s, const TilePlace& at) const {
    Product::multiply(s, dy, w, at, [this](unsigned pixel, unsigned p, Wide<T> sum) {
      if (du) {
        du[static_cast<index>(pixel) * tiles.cols + p] = static_cast<T>(sum);
        return;
      }
      if (input.silu) sum *= input.slope(input.x.at(pixel, p));
      dx.at(pixel, p) = static_cast<T>(sum + add.or_zero(pixel, p));
    });
  }
};

// dw. Blocks share the terms, `share` of them each; their sums are added in a second phase.
template <class T, class Product>
struct WeightGradient {
  Tiles<Product> tiles;
  TapsOfWindows<T> u;
  OutputGradients<T> dy;
  unsigned share, shares;
  Wide<T>*partial, *dw;  // partial [shares, dw]; dw itself if there is one share

  constexpr unsigned size() const { return tiles.rows * tiles.cols; }
  unsigned blocks() const { return dw ? tiles.count() * shares : 0; }
  unsigned adding_blocks() const { return dw && shares > 1 ? ceil_divide(size(), kThreads) : 0; }

  __device__ void operator()(typename Product::Shared& s, unsigned block) const {
    const unsigned part = block % shares;
    auto at = tiles(block / shares);
    at.begin = part * share;
    at.end = at.begin + share < tiles.terms ? at.begin + share : tiles.terms;
    Wide<T>* const to = partial + static_cast<index>(part) * size();
    Product::multiply(s, u, dy, at, [this, to](unsigned column, unsigned o, Wide<T> sum) {
      to[o * tiles.rows + place_in_filter(u.u.s, column)] = sum;
    });
  }
  __device__ void add(unsigned block) const {
    const unsigned i = block * kThreads + threadIdx.x;
    if (i >= size()) return;
    double sum = 0;
    for (unsigned part = 0; part < shares; ++part)
      sum += static_cast<double>(partial[static_cast<index>(part) * size() + i]);
    dw[i] = static_cast<Wide<T>>(sum);
  }
};

// The blocks of each kind of work, in the order of their numbers. Those of a line wait for the lines before.
struct Blocks {
  unsigned filters, u;
  unsigned dx, dw, sums;
  unsigned norm, add_dw, db;
  unsigned gamma;
  constexpr unsigned all() const {
    return filters + u + dx + dw + sums + norm + add_dw + db + gamma;
  }
  constexpr bool waits() const { return filters + u + norm + add_dw + db + gamma > 0; }
};
enum Event : unsigned { kFilters, kInput, kWeights, kSums, kNorm, kFirstImage };

// ToInput and ToWeights: the tiles of dx and of dw, of one kind.
template <class T, class ToInput, class ToWeights>
struct Backward {
  static constexpr int kThreads = ToInput::kThreads, kBlocksAtOnce = ToInput::kBlocksAtOnce;
  struct Shared {
    Phases::Shared phases;
    union {
      typename ToInput::Shared to_input;
      typename ToWeights::Shared to_weights;
      NormBackwardShared norm;
      ColumnSumsShared sums;
    };
  };
  Phases phases;
  Blocks blocks;
  ByTap<T> filters;
  Activations<T> u;
  InputGradient<T, ToInput> dx;
  WeightGradient<T, ToWeights> dw;
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
    if (is_of(blocks.filters, block)) {
      filters(block);
      phases.count(kFilters);
    } else if (is_of(blocks.u, block)) {
      u(Group(u.share, block));
      phases.count(kInput);
    } else if (is_of(blocks.dx, block)) {
      if (blocks.filters > 0) phases.wait(kFilters, blocks.filters);
      input_gradient(s, dx.tiles(block));
    } else if (is_of(blocks.dw, block)) {
      if (blocks.u > 0) phases.wait(kInput, blocks.u);
      dw(s.to_weights, block);
      if (blocks.add_dw > 0) phases.count(kWeights);
    } else if (is_of(blocks.sums, block)) {
      sums(s.sums, block);
      if (blocks.db > 0) phases.count(kSums);
    } else if (is_of(blocks.norm, block)) {
      const Group group(norm.share, block);
      const unsigned e = images.of_image(group.image);
      phases.wait(e, images.tiles(e, ToInput::kM) * dx.tiles.across);
      norm(s.norm, group);
      phases.count(kNorm);
    } else if (is_of(blocks.add_dw, block)) {
      phases.wait(kWeights, blocks.dw);
      dw.add(block);
    } else if (is_of(blocks.db, block)) {
      phases.wait(kSums, blocks.sums);
      db(s.sums, block);
    } else {
      phases.wait(kNorm, blocks.norm);
      gamma(s.sums, block);
    }
  }
  __device__ void input_gradient(Shared& s, const TilePlace& at) const {
    dx(s.to_input, at);
    if (blocks.norm == 0) return;
    const unsigned end = at.row + ToInput::kM < at.rows ? at.row + ToInput::kM : at.rows;
    for (unsigned e = images.of_pixel(at.row); e <= images.of_pixel(end - 1); ++e) phases.count(e);
  }
};

// How many terms of the weights' gradient a block sums: a number that depends on sizes alone, so that results do not
// depend on the GPU.
unsigned terms_of_block(unsigned terms, unsigned tiles) {
  constexpr unsigned kLeast = 256, kBlocks = 512;
  const unsigned shares = std::max(1u, kBlocks / std::max(1u, tiles));
  return std::max(kLeast, ceil_divide(terms, shares));
}

// db and per_image are sums of dy over pixels: first over as many as an image has, where its sums are wanted, otherwise over
// 512; then db over these.
template <class T>
class BiasSums {
 public:
  BiasSums(const Conv& s, const T* dy, const ConvGradients<T>& g)
      : share_(g.per_image ? s.oh * s.ow : 512),
        count_(g.per_image ? s.n : (s.n * s.oh * s.ow + share_ - 1) / share_),
        once_(!g.per_image && count_ == 1),
        room_(static_cast<std::size_t>(g.db && !g.per_image && !once_ ? count_ * s.k : 0)),
        of_pixels_(g.per_image ? g.per_image
                   : once_     ? g.db
                               : room_.get()),
        wanted_(g.db || g.per_image),
        sums_{s.n * s.oh * s.ow, share_, narrow(s.k), dy, {of_pixels_, narrow(s.k)}},
        db_{count_, count_, narrow(s.k), of_pixels_, {g.db, narrow(s.k)}} {}

  const ColumnSums<T, Wide<T>>& sums() const { return sums_; }
  const ColumnSums<Wide<T>, Wide<T>>& db() const { return db_; }
  unsigned blocks() const { return wanted_ ? narrow(count_) * sums_.blocks() : 0; }
  unsigned adding_blocks() const { return db_.out.first && !once_ ? db_.blocks() : 0; }

 private:
  index share_, count_;
  bool once_;  // the first sums are db already
  Scratch<Wide<T>> room_;
  Wide<T>* of_pixels_;
  bool wanted_;
  ColumnSums<T, Wide<T>> sums_;
  ColumnSums<Wide<T>, Wide<T>> db_;
};

template <class T, class ToInput, class ToWeights>
void backward(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
              const ConvGradients<T>& g) {
  const Extents e(s, in.upsample);
  const Normalised<T> input = reads(s, in);
  const kernels::GroupNorm norm = norm_of(s, in);
  const GroupShare share(norm);
  const unsigned n = narrow(s.n), c = narrow(s.c), k = narrow(s.k), skip = narrow(in.skip_channels);
  const bool normalises = g.dx && in.groups > 0;

  const OutputsOfPixels<T> outputs{e, dy};
  const InputOfProducts<T, ToWeights> u(norm, input, g.dw != nullptr);
  const FiltersByTap<T, ToInput> filters(e, k, w, g.dx != nullptr);
  const Scratch<T> du(static_cast<std::size_t>(normalises ? norm.n * norm.hw * norm.c : 0));
  const Scratch<double> of_groups(static_cast<std::size_t>(normalises ? s.n * 2 * s.c : 0));
  const Channels<T> dx{g.dx, c - skip, g.dskip, skip};
  const Channels<const T> add{g.add, c - skip, g.add_skip, skip};
  const InputGradient<T, ToInput> to_input{{narrow(s.n * norm.hw), c, outputs.terms()},
                                           outputs,
                                           {e, filters.weights()},
                                           input,
                                           normalises ? du.get() : nullptr,
                                           dx,
                                           add};

  const Tiles<ToWeights> weights(e.columns(), k, n * e.pixels);
  const unsigned terms = terms_of_block(weights.terms, weights.count()),
                 shares = ceil_divide(weights.terms, terms);
  const bool splits = g.dw && shares > 1;
  const Scratch<Wide<T>> of_shares(
      splits ? static_cast<std::size_t>(shares) * weights.rows * weights.cols : 0);
  const WeightGradient<T, ToWeights> to_weights{
      weights, {{e, u.u()}}, {k, dy}, terms, shares, splits ? of_shares.get() : g.dw, g.dw};

  const BiasSums<T> bias(s, dy, g);
  const ColumnSums<double, Wide<T>> gamma{
      s.n, s.n, 2 * c, of_groups.get(), {g.dgamma, c, g.dbeta, c}};

  const ImageEvents images(kFirstImage, n, narrow(norm.hw));
  const Blocks blocks{.filters = filters.blocks(),
                      .u = u.blocks(),
                      .dx = g.dx ? to_input.tiles.count() : 0,
                      .dw = to_weights.blocks(),
                      .sums = bias.blocks(),
                      .norm = normalises ? n * share.blocks_of_image() : 0,
                      .add_dw = to_weights.adding_blocks(),
                      .db = bias.adding_blocks(),
                      .gamma = normalises ? gamma.blocks() : 0};
  launch({blocks.all()},
         Backward<T, ToInput, ToWeights>{Phases(kFirstImage + images.count()),
                                         blocks,
                                         filters.making(),
                                         u.making(),
                                         to_input,
                                         to_weights,
                                         bias.sums(),
                                         bias.db(),
                                         {share, input, du.get(), dx, add, of_groups.get()},
                                         gamma,
                                         images});
}

}  // namespace

template <class T>
void conv_backward_by_tiles(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                            const ConvGradients<T>& g) {
  with_two_tiles<T>(s.c > 32, s.k > 32, [&]<class ToInput, class ToWeights>(ToInput, ToWeights) {
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
