// A convolution by Winograd's algorithm, for callers that need not know how: when it is profitable,
// and functions with the meaning of ConvKernels' for when it is. They are defined in
// winograd_forward.h and winograd_backward.h and compiled in files of their own
// (sets/winograd_forward.cpp, sets/winograd_backward.cpp).
#pragma once
#include "tensor/kernels/base.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Whether Winograd is faster than the direct sum: for 3x3 at stride 1 (after nearest-neighbour
// upsampling: with a padding of 1 all round), unless most of the 4x4 tiles reach over the edge of
// the image, or the channels are so few that the transforms cost more than the products save.
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
index winograd_conv_filters_size(const Conv& conv, bool upsample);
template <class T>
void winograd_conv_filters(const Conv& conv, bool upsample, const T* w, T* filters);
template <class T>
void winograd_conv_forward(const Conv& conv, const ConvInput<T>& in, const T* w,
                           const ConvOutput<T>& out, const T* filters);
template <class T>
void winograd_backward(const Conv& conv, const ConvInput<T>& in, const T* dy, const T* w,
                       const ConvGradients<T>& g);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
