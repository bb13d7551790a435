// The input gradient of a convolution by F(4x4, 3x3): the convolution of dy with the mirrored
// filters, then the adjoint of the prologue (conv_input.h).
#pragma once
#include "tensor/kernels/conv_geometry.h"
#include "tensor/kernels/winograd_passes.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// du, the gradient of the effective input (after the prologue), and from it dx.
template <class T>
class WinogradInputGradient {
 public:
  WinogradInputGradient(const WinogradConv& tiled, const ConvInput<T>& in, const T* dy, const T* w,
                        const ConvGradients<T>& g)
      : conv_(tiled.conv),
        in_(in),
        dy_tiled_(tiled.out),
        dy_(dy),
        g_(g),
        norm_(norm_of(tiled.conv, in)),
        x_(image_of(tiled.conv, in)),
        dx_(gradient_of(tiled.conv, in, g)),
        add_(added_of(tiled.conv, in, g)),
        du_is_dx_(in.groups == 0 && in.skip_channels == 0),
        adjoint_(adjoint_of(tiled.conv)),
        streamed_(g.dx && streams(dx_, add_, tiled.conv.n * norm_.hw)),
        filters_(g.dx ? winograd_filters_size<T>(adjoint_) : 0) {
    const index taps = tiled.conv.kh * tiled.conv.kw;
    if (g.dx)
      winograd_filters(adjoint_, {.out = taps, .in = tiled.conv.c * taps, .mirrored = true}, w,
                       filters_.get());
  }

  // All images, one pass after the other.
  void all() const {
    if (du_is_dx_) return convolve({0, norm_.n}, g_.add, g_.dx, streamed_);
    const index size = norm_.n * norm_.hw * norm_.c;
    const Scratch<T> du(size);
    convolve({0, norm_.n}, nullptr, du.get(), streams(du.get(), norm_.c, size));
    if (in_.groups == 0) {
      parallel_for(norm_.n,
                   [&](index image) { add_to_dx(image, du.get() + image * norm_.hw * norm_.c); });
    } else {
      input_norm_gradients(conv_, in_, du.get(), g_);
    }
  }
  // In a task: some images, whose du stays in the cache. `sums`: their part of dgamma and dbeta, for
  // add_norm_partials; `first` overwrites it. `effective`: null, or where the effective input goes if
  // there is a normalisation.
  void some(Range images, bool first, T* sums, T* effective) const {
    const index size = norm_.hw * norm_.c;
    if (du_is_dx_) {
      const index at = images.begin * size;
      return convolve(images, g_.add ? g_.add + at : nullptr, g_.dx + at, streamed_);
    }
    const index step = winograd_images<T>(adjoint_);
    const Scratch<T> du(step * size), work(4 * norm_.c);
    for (index b = images.begin; b < images.end; b += step) {
      const Range block{b, smaller(b + step, images.end)};
      convolve(block, nullptr, du.get(), false, x_.from(b * norm_.hw));
      for (index image = block.begin; image < block.end; ++image) {
        T* const dz = du.get() + (image - b) * size;
        if (in_.groups == 0) {
          add_to_dx(image, dz);
          continue;
        }
        T* const y = effective ? effective + (image - images.begin) * size : nullptr;
        through_norm(image, dz, work.get(), first && image == images.begin, sums, y);
      }
    }
    if (streamed_) finish_streams();
  }

 private:
  void convolve(Range images, const T* add, T* du, bool streamed,
                const Image<const T>& prefetch = {}) const {
    Conv conv = adjoint_;
    conv.n = images.size();
    winograd<T>({.conv = conv,
                 .in = {.x = dy_ + images.begin * dy_tiled_.size()},
                 .in_tiled = dy_tiled_,
                 .measure = false,
                 .filters = filters_.get(),
                 .out = {.y = du, .residual = add},
                 .out_tiled = {.rows = conv.oh, .cols = conv.ow, .channels = conv.k},
                 .streamed = streamed,
                 .prefetch = prefetch});
  }
  void add_to_dx(index image, const T* du) const {
    const index pixel = image * norm_.hw;
    add_gradient(du, norm_.hw, add_.from(pixel), dx_.from(pixel));
  }
  // du, which becomes dz in place, back through the normalisation.
  void through_norm(index image, T* du, T* work, bool first, T* sums, T* y) const {
    const index pixel = image * norm_.hw;
    group_norm_backward_image<T>({.norm = norm_,
                                  .channels = {0, norm_.c},
                                  .x = x_.from(pixel),
                                  .gamma = in_.gamma,
                                  .beta = in_.beta,
                                  .mean = in_.mean + image * in_.groups,
                                  .rstd = in_.rstd + image * in_.groups,
                                  .dy = du,
                                  .dz = du,
                                  .work = work,
                                  .dx = dx_.from(pixel),
                                  .add = add_.from(pixel),
                                  .streamed = streamed_,
                                  .dgamma = sums,
                                  .dbeta = sums + norm_.c,
                                  .first = first,
                                  .y = y});
  }

  const Conv& conv_;
  const ConvInput<T>& in_;
  TiledImage dy_tiled_;
  const T* dy_;
  const ConvGradients<T>& g_;
  GroupNorm norm_;
  Image<const T> x_;
  Image<T> dx_;
  Image<const T> add_;
  bool du_is_dx_;
  Conv adjoint_;
  bool streamed_;
  Scratch<T> filters_;
};

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
