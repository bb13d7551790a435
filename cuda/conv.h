// Convolution on a GPU: for every shape and every ConvInput; `silu` without groups, too: u = x sigmoid(x). Of the
// gradients each may be null.
#pragma once
#include <cstddef>

#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

using kernels::index;

template <class T>
void conv_forward(const kernels::Conv& s, const kernels::ConvInput<T>& in, const T* w,
                  const kernels::ConvOutput<T>& out, const T* filters);
template <class T>
void conv_backward(const kernels::Conv& s, const kernels::ConvInput<T>& in, const T* dy, const T* w,
                   const kernels::ConvGradients<T>& g);
// None: w is used as it is.
template <class T>
index conv_filters_size(const kernels::Conv& s, bool upsample);
template <class T>
void conv_filters(const kernels::Conv& s, bool upsample, const T* w, T* filters);

// How convolutions are computed: by tiles (conv_tiles.h), or as products of columns (conv.cu) where channels are many.
// Tests set it.
enum class ConvPath { automatic, tiles, columns };
inline ConvPath conv_path = ConvPath::automatic;

// As many images at a time as have at most this many bytes of columns (conv.cu), but at least one.
// Tests lower it.
inline std::size_t conv_column_bytes = std::size_t{1} << 29;

}  // namespace sfumato::cuda
