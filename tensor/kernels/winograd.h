// A convolution by Winograd's algorithm, for callers that need not know how: functions with the
// meaning of ConvKernels'. They are defined in winograd_forward.h and winograd_backward.h and compiled
// in files of their own (sets/winograd_forward.cpp, sets/winograd_backward.cpp).
#pragma once
#include "tensor/kernels/base.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

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
