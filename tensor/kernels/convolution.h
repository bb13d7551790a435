// The convolutions of kernels.h: Winograd where it pays, else direct.
#pragma once
#include "tensor/kernels/winograd_backward.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// The direct kernels read plain images (1x1 products also those in two arrays): what ConvInput
// promises is done in a pass of its own first.
template <class T>
class PlainInput {
 public:
  // `measure`: the statistics of the normalisation come first.
  PlainInput(const Conv& s, const ConvInput<T>& in, bool measure)
      : plain_(!in.upsample && in.groups == 0 && (in.beside_c == 0 || is_pointwise(s))),
        x_(image_of(s, in)),
        copy_(plain_ ? 0 : s.n * s.h * s.w * s.c) {
    if (plain_) return;
    if (in.groups > 0 && measure)
      group_norm_statistics(norm_of(s, in), image_of(s, in), in.mean, in.rstd);
    const index rows = in.upsample ? s.h / 2 : s.h, cols = in.upsample ? s.w / 2 : s.w;
    parallel_for(s.n, [&](index image) {
      ReadNorm<T> norm(s, in);
      norm.set_image(image);
      for (index r = 0; r < s.h; ++r) {
        const index from = in.upsample ? r / 2 : r;
        norm.copy((image * rows + from) * cols, s.w, copy_.get() + (image * s.h + r) * s.w * s.c,
                  s.c);
      }
    });
  }
  Image<const T> get() const { return plain_ ? x_ : Image<const T>{copy_.get(), x_.c}; }

 private:
  bool plain_;
  Image<const T> x_;
  Scratch<T> copy_;
};

// What a direct convolution leaves for ConvOutput to add.
template <class T>
void add_to_output(const Conv& s, const ConvOutput<T>& out) {
  if (out.per_image == nullptr && out.residual == nullptr) return;
  parallel_for(s.n * s.oh, [&](index row) {
    const index image = row / s.oh, size = s.ow * s.k;
    for_vectors<T>(s.k, [&](index o, auto extent) {
      const Vec<T> shift = out.per_image ? load(out.per_image + image * s.k + o, extent) : Vec<T>{};
      for (index i = row * size + o; i < (row + 1) * size; i += s.k) {
        Vec<T> y = load(out.y + i, extent) + shift;
        if (out.residual) y += load(out.residual + i, extent);
        store<T>(out.y + i, y, extent);
      }
    });
  });
}

template <class T>
index conv_filters_size(const Conv& s, bool upsample) {
  return winograd_pays<T>(s, upsample) ? winograd_filters_size<T>(winograd_conv<T>(s, upsample).s)
                                       : 0;
}
template <class T>
void conv_filters(const Conv& s, bool upsample, const T* w, T* filters) {
  if (!winograd_pays<T>(s, upsample)) return;
  const Conv tiled = winograd_conv<T>(s, upsample).s;
  const index taps = tiled.kh * tiled.kw;
  const Scratch<T> folded(upsample ? tiled.k * tiled.c * taps : 0);
  if (upsample) fold_taps(s, w, folded.get());
  winograd_filters(tiled, {s.c * taps, taps, false}, upsample ? folded.get() : w, filters);
}

template <class T>
void conv_forward(const Conv& s, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                  const T* filters) {
  if (s.n <= 0 || s.oh <= 0 || s.ow <= 0 || s.k <= 0) return;
  if (winograd_pays<T>(s, in.upsample)) {
    const Scratch<T> made(filters ? 0 : SFUMATO_ISA_NAME::conv_filters_size<T>(s, in.upsample));
    if (!filters) SFUMATO_ISA_NAME::conv_filters(s, in.upsample, w, made.get());
    const WinogradConv conv = winograd_conv<T>(s, in.upsample);
    ConvInput<T> stored = in;
    stored.upsample = false;
    return winograd(conv.s, stored, {}, filters ? filters : made.get(), out, conv.out,
                    in.groups > 0,
                    out.residual != out.y && streams(out.y, s.k, s.n * s.oh * s.ow * s.k));
  }
  direct_forward(s, PlainInput<T>(s, in, true).get(), w, out.bias, out.y);
  add_to_output(s, out);
}

// to[n, h/2, w/2, c] = the sums of 2x2 blocks of from[n, h, w, c], + add unless null.
template <class T>
void sum_blocks(const Conv& s, const T* from, const T* add, T* to) {
  const index line = s.w * s.c;
  parallel_for(s.n * (s.h / 2), [&](index row) {
    for (index j = 0; j < s.w / 2; ++j) {
      const T* f = from + 2 * row * line + 2 * j * s.c;
      const index at = (row * (s.w / 2) + j) * s.c;
      for_vectors<T>(s.c, [&](index c, auto e) {
        const Vec<T> sum = (load(f + c, e) + load(f + s.c + c, e)) +
                           (load(f + line + c, e) + load(f + line + s.c + c, e));
        store<T>(to + at + c, add ? load(add + at + c, e) + sum : sum, e);
      });
    }
  });
}

// The gradient of what a direct convolution saw, where only doubling of pixels lies between.
template <class T>
void direct_input_gradient(const Conv& s, const T* dy, const T* w, bool upsample,
                           const Image<const T>& add, const Image<T>& dx) {
  if (is_pointwise(s) && !upsample) return pointwise_backward_data(s, dy, w, add, dx);
  if (!upsample && add.x == nullptr && dx.beside_c == 0)
    return direct_backward_data(s, dy, w, dx.x);
  const Scratch<T> full(s.n * s.h * s.w * s.c);
  direct_backward_data(s, dy, w, full.get());
  const auto place = [&](const T* du, index pixels) {
    parallel_for(s.n, [&](index image) {
      const index first = image * pixels;
      place_gradient(du + first * s.c, pixels, add.from(first), dx.from(first));
    });
  };
  if (!upsample) return place(full.get(), s.h * s.w);
  if (dx.beside_c == 0) return sum_blocks(s, full.get(), add.x, dx.x);
  const Scratch<T> sums(s.n * (s.h / 2) * (s.w / 2) * s.c);
  sum_blocks(s, full.get(), static_cast<const T*>(nullptr), sums.get());
  place(sums.get(), s.h / 2 * (s.w / 2));
}

template <class T>
void direct_backward(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                     const ConvGradients<T>& g) {
  if (g.dw) direct_backward_weights(s, PlainInput<T>(s, in, false).get(), dy, g.dw, g.db);
  if (g.per_image) sum_pixels(s, dy, g.per_image);
  if (!g.dx) return;
  const Image<const T> add = added_of(s, in, g);
  const Image<T> dx = gradient_of(s, in, g);
  if (in.groups == 0) return direct_input_gradient(s, dy, w, in.upsample, add, dx);
  const GroupNorm norm = norm_of(s, in);
  const Scratch<T> du(norm.n * norm.hw * norm.c);
  direct_input_gradient(s, dy, w, in.upsample, {nullptr, s.c}, Image<T>{du.get(), s.c});
  SFUMATO_ISA_NAME::group_norm_backward(norm, image_of(s, in), in.gamma, in.beta, in.mean, in.rstd,
                                        du.get(), add, dx, g.dgamma, g.dbeta);
}

template <class T>
void conv_backward(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                   const ConvGradients<T>& g) {
  if (s.n > 0 && s.oh > 0 && s.ow > 0 && s.k > 0 && s.c > 0) {
    if (winograd_pays<T>(s, in.upsample)) return winograd_backward(s, in, dy, w, g);
    return direct_backward(s, in, dy, w, g);
  }
  // No output, or none that depends on the input.
  if (g.dw) zero(g.dw, s.k * s.c * s.kh * s.kw);
  if (g.db) zero(g.db, s.k);
  if (g.per_image) zero(g.per_image, s.n * s.k);
  if (g.dgamma) zero(g.dgamma, s.c);
  if (g.dbeta) zero(g.dbeta, s.c);
  if (g.dx) {
    const index pixels = s.n * stored_pixels(s, in);
    const Scratch<T> nothing(pixels * s.c);
    zero(nothing.get(), pixels * s.c);
    place_gradient(nothing.get(), pixels, added_of(s, in, g), gradient_of(s, in, g));
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
