// The convolutions of kernels.h: Winograd if it is profitable, else direct.
#pragma once
#include "tensor/kernels/conv_input.h"
#include "tensor/kernels/conv_input_gradient.h"
#include "tensor/kernels/conv_weights.h"
#include "tensor/kernels/winograd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// The direct kernels read plain images (1x1 products also skip channels), so the prologue that
// ConvInput promises is a pass of its own before them.
template <class T>
class PlainInput {
 public:
  // `measure`: first writes the statistics of the normalisation.
  PlainInput(const Conv& conv, const ConvInput<T>& in, bool measure)
      : plain_(!in.upsample && in.groups == 0 && (in.skip_channels == 0 || is_pointwise(conv))),
        x_(image_of(conv, in)),
        copy_(plain_ ? 0 : conv.n * conv.h * conv.w * conv.c) {
    if (plain_) return;
    if (in.groups > 0 && measure)
      group_norm_statistics(norm_of(conv, in), image_of(conv, in), in.mean, in.rstd);
    const index rows = in.upsample ? conv.h / 2 : conv.h, cols = in.upsample ? conv.w / 2 : conv.w;
    parallel_for(conv.n, [&](index image) {
      Prologue<T> prologue(conv, in);
      prologue.set_image(image);
      for (index r = 0; r < conv.h; ++r) {
        const index from = in.upsample ? r / 2 : r;
        prologue.copy((image * rows + from) * cols, conv.w,
                      copy_.get() + (image * conv.h + r) * conv.w * conv.c, conv.c);
      }
    });
  }
  Image<const T> get() const { return plain_ ? x_ : Image<const T>{copy_.get(), x_.c}; }

 private:
  bool plain_;
  Image<const T> x_;
  Scratch<T> copy_;
};

// The epilogue of a direct convolution (ConvOutput), a pass of its own after it; the bias is added
// already.
template <class T>
void add_to_output(const Conv& conv, const ConvOutput<T>& out) {
  if (out.per_image == nullptr && out.residual == nullptr) return;
  parallel_for(conv.n * conv.oh, [&](index row) {
    const index image = row / conv.oh, size = conv.ow * conv.k;
    for_vectors<T>(conv.k, [&](index o, auto lanes) {
      const Vec<T> shift =
          out.per_image ? load(out.per_image + image * conv.k + o, lanes) : Vec<T>{};
      for (index i = row * size + o; i < (row + 1) * size; i += conv.k) {
        Vec<T> y = load(out.y + i, lanes) + shift;
        if (out.residual) y += load(out.residual + i, lanes);
        store<T>(out.y + i, y, lanes);
      }
    });
  });
}

// Whether Winograd is faster than the direct sum: for 3x3 at stride 1 (after nearest-neighbour
// upsampling: with a padding of 1 all round), unless more than 60 % of the outputs of all 4x4 tiles
// lie outside the image, or the channels are so few that the transforms cost more than the products save.
// f64 is for gradient checks, where its rounding error would be in the way.
template <class T>
inline bool winograd_is_profitable(const Conv& conv, bool upsample) {
  if (conv.kh != 3 || conv.kw != 3 || conv.stride != 1) return false;
  if (conv.n <= 0 || conv.c <= 0 || conv.k <= 0) return false;
  if (upsample &&
      !(conv.pad_top == 1 && conv.pad_left == 1 && conv.oh == conv.h && conv.ow == conv.w))
    return false;
  if (conv_method() != ConvMethod::automatic) return conv_method() == ConvMethod::winograd;
  const index covered = 16 * div_up(conv.oh, 4) * div_up(conv.ow, 4);
  return sizeof(T) == 4 && conv.c >= 8 && conv.k >= 8 && 5 * conv.oh * conv.ow >= 2 * covered;
}

template <class T>
index conv_filters_size(const Conv& conv, bool upsample) {
  if (!winograd_is_profitable<T>(conv, upsample)) return 0;
  return winograd_conv_filters_size<T>(conv, upsample);
}
template <class T>
void conv_filters(const Conv& conv, bool upsample, const T* w, T* filters) {
  if (winograd_is_profitable<T>(conv, upsample)) winograd_conv_filters(conv, upsample, w, filters);
}

template <class T>
void conv_forward(const Conv& conv, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                  const T* filters) {
  if (conv.n <= 0 || conv.oh <= 0 || conv.ow <= 0 || conv.k <= 0) return;
  if (const ConvShortcut<T>* shortcut = out.shortcut) {
    const Scratch<T> sum(conv.n * conv.oh * conv.ow * conv.k);
    conv_forward<T>(shortcut->conv, shortcut->in, shortcut->w,
                    {.y = sum.get(), .bias = shortcut->bias}, nullptr);
    return conv_forward<T>(
        conv, in, w,
        {.y = out.y, .bias = out.bias, .per_image = out.per_image, .residual = sum.get()}, filters);
  }
  if (winograd_is_profitable<T>(conv, in.upsample))
    return winograd_conv_forward(conv, in, w, out, filters);
  direct_forward(conv, PlainInput<T>(conv, in, true).get(), w, out.bias, out.y);
  add_to_output(conv, out);
}

// to[n, h/2, w/2, c] = the sums of 2x2 blocks of from[n, h, w, c], + add unless null.
template <class T>
void sum_blocks(const Conv& conv, const T* from, const T* add, T* to) {
  const index line = conv.w * conv.c;
  parallel_for(conv.n * (conv.h / 2), [&](index row) {
    for (index j = 0; j < conv.w / 2; ++j) {
      const T* f = from + 2 * row * line + 2 * j * conv.c;
      const index at = (row * (conv.w / 2) + j) * conv.c;
      for_vectors<T>(conv.c, [&](index c, auto e) {
        const Vec<T> sum = (load(f + c, e) + load(f + conv.c + c, e)) +
                           (load(f + line + c, e) + load(f + line + conv.c + c, e));
        store<T>(to + at + c, add ? load(add + at + c, e) + sum : sum, e);
      });
    }
  });
}

// dx + add of a direct convolution whose prologue is at most an upsampling.
template <class T>
void direct_input_gradient(const Conv& conv, const T* dy, const T* w, bool upsample,
                           const Image<const T>& add, const Image<T>& dx) {
  if (is_pointwise(conv) && !upsample) return pointwise_input_gradient(conv, dy, w, add, dx);
  if (!upsample && add.main == nullptr && dx.skip_channels == 0)
    return direct_input_gradient(conv, dy, w, dx.main);
  const Scratch<T> du(conv.n * conv.h * conv.w * conv.c);
  direct_input_gradient(conv, dy, w, du.get());
  const auto add_to_dx = [&](const T* gradient, index pixels) {
    parallel_for(conv.n, [&](index image) {
      const index first = image * pixels;
      add_gradient(gradient + first * conv.c, pixels, add.from(first), dx.from(first));
    });
  };
  if (!upsample) return add_to_dx(du.get(), conv.h * conv.w);
  if (dx.skip_channels == 0) return sum_blocks(conv, du.get(), add.main, dx.main);
  const Scratch<T> sums(conv.n * (conv.h / 2) * (conv.w / 2) * conv.c);
  sum_blocks(conv, du.get(), static_cast<const T*>(nullptr), sums.get());
  add_to_dx(sums.get(), conv.h / 2 * (conv.w / 2));
}

template <class T>
void direct_backward(const Conv& conv, const ConvInput<T>& in, const T* dy, const T* w,
                     const ConvGradients<T>& g) {
  if (g.dw) direct_weight_gradient(conv, PlainInput<T>(conv, in, false).get(), dy, g.dw, g.db);
  if (g.per_image) sum_pixels(conv, dy, g.per_image);
  if (!g.dx) return;
  const Image<const T> add = added_of(conv, in, g);
  const Image<T> dx = gradient_of(conv, in, g);
  if (in.groups == 0) return direct_input_gradient(conv, dy, w, in.upsample, add, dx);
  const GroupNorm norm = norm_of(conv, in);
  const Scratch<T> du(norm.n * norm.hw * norm.c);
  direct_input_gradient(conv, dy, w, in.upsample, {nullptr, conv.c}, Image<T>{du.get(), conv.c});
  input_norm_gradients(conv, in, du.get(), g);
}

template <class T>
void conv_backward(const Conv& conv, const ConvInput<T>& in, const T* dy, const T* w,
                   const ConvGradients<T>& g) {
  if (g.shortcut)
    conv_backward(g.shortcut->conv, g.shortcut->in, dy, g.shortcut->w, *g.of_shortcut);
  if (conv.n > 0 && conv.oh > 0 && conv.ow > 0 && conv.k > 0 && conv.c > 0) {
    if (winograd_is_profitable<T>(conv, in.upsample)) return winograd_backward(conv, in, dy, w, g);
    return direct_backward(conv, in, dy, w, g);
  }
  // No output, or no output that depends on the input.
  if (g.dw) zero(g.dw, conv.k * conv.c * conv.kh * conv.kw);
  if (g.db) zero(g.db, conv.k);
  if (g.per_image) zero(g.per_image, conv.n * conv.k);
  if (g.dgamma) zero(g.dgamma, conv.c);
  if (g.dbeta) zero(g.dbeta, conv.c);
  if (g.dx) {
    const index pixels = conv.n * stored_pixels(conv, in);
    const Scratch<T> nothing(pixels * conv.c);
    zero(nothing.get(), pixels * conv.c);
    add_gradient(nothing.get(), pixels, added_of(conv, in, g), gradient_of(conv, in, g));
  }
}

// The rows of this family.
template <class T>
void fill(ConvKernels<T>& table) {
  table = {
      .conv_forward = conv_forward<T>,
      .conv_backward = conv_backward<T>,
      .conv_filters_size = conv_filters_size<T>,
      .conv_filters = conv_filters<T>,
  };
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
