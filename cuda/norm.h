// Group normalisation on a GPU.
#pragma once
#include "cuda/channels.h"

namespace sfumato::cuda {

template <class T>
void group_norm_forward(const kernels::GroupNormForward<T>& a);
template <class T>
void group_norm_backward(const kernels::GroupNormBackward<T>& a);

// The two steps as the convolution takes them, for channels in one array or in two. hw: pixels of an
// image.

// mean, rstd [n, groups] of x.
template <class T>
void group_norm_statistics(const kernels::GroupNorm& s, const Channels<const T>& x, Wide<T>* mean,
                           Wide<T>* rstd);

// Where the gradients go; `add` (may be dx itself, or none: null) is added to dx.
template <class T>
struct NormGradients {
  Channels<T> dx;
  Channels<const T> add;
  Wide<T>*dgamma, *dbeta;
};
// Given dy [n, hw, c], which may be dx.
template <class T>
void group_norm_backward(const kernels::GroupNorm& s, const Normalised<T>& norm, const T* dy,
                         const NormGradients<T>& to);

}  // namespace sfumato::cuda
