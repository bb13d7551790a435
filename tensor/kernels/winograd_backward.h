// All gradients of a convolution by F(4x4, 3x3): of its input (winograd_input.h) and its weights
// (winograd_weights.h).
//
// A task computes both gradients of an image one after the other: the second finds dy and x in the
// cache, and du never leaves it. (A pass over all images for each gradient instead, if single images
// are split, or the filters: WinogradBackward::fused_.) The weight gradient is split in one of two
// ways:
//   - by tiles: partitions of the images, each with its own partial sum, added up in order;
//   - by filters, if the weights are many and the tiles few (winograd_weights_split_filters): V and Z
//     of all images are hardly larger than the partial sums would be. They are made first; then each
//     task multiplies them for some channels and filters.
#pragma once
#include "tensor/kernels/conv_weights.h"
#include "tensor/kernels/winograd_input.h"
#include "tensor/kernels/winograd_weights.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template <class T>
class WinogradBackward {
 public:
  // `w`: the weights of tiled.conv; g.dw: their gradient.
  WinogradBackward(const WinogradConv& tiled, const ConvInput<T>& in, const T* dy, const T* w,
                   const ConvGradients<T>& g)
      : conv_(tiled.conv),
        dy_tiled_(tiled.out),
        in_(in),
        dy_(dy),
        g_(g),
        panels_{conv_.k},
        split_filters_(winograd_weights_split_filters<T>(conv_)),
        plan_(first_plan()),
        fused_(g.dx && plan_.bands == 1 && !winograd_splits_filters<T>(adjoint_of(conv_))),
        input_(tiled, in, dy, w, g) {
    if (split_filters_ && plan_.bands > 1) plan_ = plan_.of_images(conv_.n, 1);
    partitions_ = smaller(plan_.blocks, kTasks / 2);
  }

  void run() {
    const index columns = round_up(conv_.k, kLanes<T>), partial = weight_rows(conv_) * columns;
    const index bias_columns = round_up(dy_tiled_.channels, kLanes<T>);
    const index partials_kept = split_filters_ ? 1 : partitions_;
    const Scratch<T> partials(g_.dw ? partials_kept * partial : 0);
    const Scratch<T> bias(g_.dw ? partitions_ * bias_columns : 0);
    const Scratch<T> norm(in_.groups > 0 ? partitions_ * 2 * conv_.c : 0);
    norm_partials_ = norm.get();
    bias_partials_ = bias.get();
    if (g_.dw) {
      zero(bias.get(), partitions_ * bias_columns);
      split_filters_ ? weights_by_filters(partials.get()) : weights_by_tiles(partials.get());
      const index taps = conv_.kh * conv_.kw;
      add_weight_partials(conv_, partials_kept, {conv_.c * taps, taps, false}, partials.get(),
                          g_.dw);
      if (g_.db) add_bias_partials(dy_tiled_.channels, partitions_, bias.get(), g_.db);
    } else if (fused_) {
      parallel_for(partitions_,
                   [&](index part) { for_blocks(part, [](index, bool, const T*) {}); });
    }
    if (fused_ && in_.groups > 0)
      add_norm_partials(conv_.c, partitions_, norm.get(), g_.dgamma, g_.dbeta);
    if (g_.dx && !fused_) input_.all();
  }
  // Whether run() writes g.per_image.
  bool sums_images() const { return g_.dw && plan_.bands == 1; }

 private:
  WinogradPlan first_plan() const {
    const index tiles = conv_.n * tiles_per_image(conv_);
    const index wanted =
        winograd_weight_tiles<T>(round_up(conv_.c, kBlock), round_up(conv_.k, kLanes<T>));
    return plan_winograd(conv_, wanted, split_filters_ ? 1 : smaller(32, tiles / 8),
                         inside_task() ? 1 : kTasks / 2);
  }
  WinogradInput<T> input() const { return {.conv = conv_, .plan = plan_, .in = in_}; }
  WinogradGradient<T> gradient(index part) const {
    return {.conv = conv_,
            .plan = plan_,
            .tiled = dy_tiled_,
            .dy = dy_,
            .bias = bias_partials_ + part * round_up(dy_tiled_.channels, kLanes<T>),
            .per_image = sums_images() ? g_.per_image : nullptr};
  }

  // f(block, whether it is the first, effective input or null) for a partition's blocks, each after
  // the gradient of its input. That pass makes the effective input anyway if there is a
  // normalisation, equal to the forward pass up to rounding.
  template <class F>
  void for_blocks(index part, F&& f) const {
    const Range blocks = part_of(plan_.blocks, partitions_, part);
    const bool keep = fused_ && g_.dw && in_.groups > 0;
    const Scratch<T> kept(keep ? plan_.images * conv_.h * conv_.w * conv_.c : 0);
    T* const effective = keep ? kept.get() : nullptr;
    for (index i = blocks.begin; i < blocks.end; ++i) {
      const bool first = i == blocks.begin;
      if (fused_)
        input_.some(plan_.block(conv_, i).all_images(), first, norm_partials_ + part * 2 * conv_.c,
                    effective);
      f(i, first, effective);
    }
  }

  void weights_by_tiles(T* partials) const {
    const index partial = weight_rows(conv_) * round_up(conv_.k, kLanes<T>);
    parallel_for(partitions_, [&](index part) {
      const WinogradInput<T> from = input();
      for_blocks(part, [&](index i, bool first, const T* effective) {
        const WinogradBlock b = plan_.block(conv_, i);
        PrefetchQueue queue = inputs_of(i + 1);
        const TileLayout layout = kContiguousV ? contiguous_layout<T>(b.tiles, conv_.c)
                                               : blocked_layout<T>(b.tiles, conv_.c);
        WinogradFactors<T> factors(from, b, layout);
        factors.make(b.all_images(), gradient(part), effective);
        for (index p = 0; p < panels_.count(); ++p)
          factors.multiply(p, {0, conv_.c}, queue, first, partials + part * partial);
      });
    });
  }

  void weights_by_filters(T* dw) const {
    const WinogradPlan one_block = plan_.of_images(conv_.n, conv_.n);
    const WinogradInput<T> from{.conv = conv_, .plan = one_block, .in = in_};
    const WinogradBlock all = one_block.block(conv_, 0);
    // (Tasks take channels by whole kBlocks, so those of a tile need not be contiguous.)
    WinogradFactors<T> factors(from, all, blocked_layout<T>(all.tiles, conv_.c));
    parallel_for(partitions_, [&](index part) {
      for_blocks(part, [&](index i, bool, const T* effective) {
        WinogradGradient<T> dy = gradient(part);
        factors.make(plan_.block(conv_, i).all_images(), dy, effective);
      });
    });
    const index blocks = div_up(conv_.c, kBlock);
    const index groups = smaller(blocks, div_up(kTasks / 2, panels_.count()));
    parallel_for(panels_.count() * groups, [&](index task) {
      const Range group = part_of(blocks, groups, task % groups);
      PrefetchQueue nothing;
      factors.multiply(task / groups, {group.begin * kBlock, smaller(group.end * kBlock, conv_.c)},
                       nothing, true, dw);
    });
  }

  // The inputs of block i, if there is one.
  PrefetchQueue inputs_of(index i) const {
    PrefetchQueue queue;
    if (i >= plan_.blocks || plan_.bands > 1) return queue;
    const WinogradBlock b = plan_.block(conv_, i);
    const index pixels = stored_pixels(conv_, in_), dy_size = dy_tiled_.size();
    const Image<const T> x = image_of(conv_, in_).from(b.image * pixels);
    x.for_arrays({0, conv_.c}, [&](Range segment) {
      queue.add(x.at(0, segment.begin), b.images * pixels * segment.size());
    });
    queue.add(dy_ + b.image * dy_size, b.images * dy_size);
    return queue;
  }

  const Conv& conv_;
  TiledImage dy_tiled_;
  const ConvInput<T>& in_;
  const T* dy_;
  const ConvGradients<T>& g_;
  Panels<T> panels_;
  bool split_filters_;
  WinogradPlan plan_;
  bool fused_;
  WinogradInputGradient<T> input_;
  index partitions_;
  T *norm_partials_ = nullptr, *bias_partials_ = nullptr;
};

// `conv`: as its caller describes it, before upsampling becomes blocks.
template <class T>
void winograd_backward(const Conv& conv, const ConvInput<T>& in, const T* dy, const T* w,
                       const ConvGradients<T>& g) {
  const WinogradConv tiled = winograd_conv<T>(conv, in.upsample);
  ConvInput<T> stored = in;
  stored.upsample = false;
  const index folded_size =
      in.upsample ? tiled.conv.k * tiled.conv.c * tiled.conv.kh * tiled.conv.kw : 0;
  const Scratch<T> folded(folded_size), dfolded(g.dw ? folded_size : 0);
  ConvGradients<T> of_tiles = g;
  if (in.upsample) {
    fold_taps(conv, w, folded.get());
    if (g.dw) of_tiles.dw = dfolded.get();
  }
  WinogradBackward<T> backward(tiled, stored, dy, in.upsample ? folded.get() : w, of_tiles);
  backward.run();
  if (in.upsample && g.dw) unfold_taps(conv, dfolded.get(), g.dw);
  if (g.per_image && !backward.sums_images()) sum_pixels(conv, dy, g.per_image);
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
