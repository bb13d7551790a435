// The arguments of a convolution, seen as images and a normalisation; and how the gradient of its
// effective input becomes that of its stored input.
#pragma once
#include "tensor/kernels/group_norm.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Pixels of one image of x as stored, before upsampling.
template <class T>
index stored_pixels(const Conv& conv, const ConvInput<T>& in) {
  return in.upsample ? conv.h / 2 * (conv.w / 2) : conv.h * conv.w;
}
template <class T>
GroupNorm norm_of(const Conv& conv, const ConvInput<T>& in) {
  return {.n = conv.n,
          .hw = stored_pixels(conv, in),
          .c = conv.c,
          .groups = in.groups,
          .eps = in.eps,
          .silu = in.silu};
}
template <class T>
Image<const T> image_of(const Conv& conv, const ConvInput<T>& in) {
  return {in.x, conv.c, in.skip, in.skip_channels};
}
// The layout of weights w[o, p, u, v] or their gradient: taps are contiguous, in ascending or, mirrored, in descending order.
struct WeightOrder {
  index out, in;  // distance between output channels (o), input channels (p)
  bool mirrored;
};

// Where the gradient of the input goes, and what is added to it.
template <class T>
Image<T> gradient_of(const Conv& conv, const ConvInput<T>& in, const ConvGradients<T>& g) {
  return {g.dx, conv.c, g.dskip, in.skip_channels};
}
template <class T>
Image<const T> added_of(const Conv& conv, const ConvInput<T>& in, const ConvGradients<T>& g) {
  return {g.add, conv.c, g.add_skip, in.skip_channels};
}

// dx = du + add, for an input without a prologue; `add` may be null.
template <class T>
void add_gradient(const T* du, index pixels, const Image<const T>& add, const Image<T>& dx) {
  dx.for_arrays({0, dx.c}, [&](Range segment) {
    const T* summand = add.at(0, segment.begin);
    T* to = dx.at(0, segment.begin);
    for (index i = 0; i < pixels; ++i) {
      for_vectors<T>(segment.size(), [&](index c, auto lanes) {
        const Vec<T> d = load(du + i * dx.c + segment.begin + c, lanes);
        const index j = i * segment.size() + c;
        store<T>(to + j, summand ? d + load(summand + j, lanes) : d, lanes);
      });
    }
  });
}

// dx, dgamma and dbeta of an input with a normalisation, from the gradient of its output before upsampling.
template <class T>
void input_norm_gradients(const Conv& conv, const ConvInput<T>& in, const T* du,
                          const ConvGradients<T>& g) {
  group_norm_gradients<T>({.norm = norm_of(conv, in),
                           .x = image_of(conv, in),
                           .gamma = in.gamma,
                           .beta = in.beta,
                           .mean = in.mean,
                           .rstd = in.rstd,
                           .dy = du,
                           .add = added_of(conv, in, g),
                           .dx = gradient_of(conv, in, g),
                           .dgamma = g.dgamma,
                           .dbeta = g.dbeta});
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
