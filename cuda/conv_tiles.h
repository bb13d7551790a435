// Convolution by tiles of products whose factors are read where they are: nothing is laid out first (implicit GEMM), but
// for what tensor cores copy (conv_by_tiles.h), and everything that a pass computes is one launch. No extent is 0.
#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

// As conv_forward and conv_backward (conv.h).
template <class T>
void conv_forward_by_tiles(const kernels::Conv& s, const kernels::ConvInput<T>& in, const T* w,
                           const kernels::ConvOutput<T>& out);
template <class T>
void conv_backward_by_tiles(const kernels::Conv& s, const kernels::ConvInput<T>& in, const T* dy,
                            const T* w, const kernels::ConvGradients<T>& g);

}  // namespace sfumato::cuda
