// One or two passes over memory on a GPU: PointwiseKernels but for the sums (sum.h).
#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

using kernels::index;

template <class T>
void silu_forward(index n, const T* x, T* y);
template <class T>
void silu_backward(index n, const T* x, const T* dy, T* dx);
template <class T>
void gelu_tanh_forward(index n, const T* x, T* y);
template <class T>
void gelu_tanh_backward(index n, const T* x, const T* dy, T* dx);
template <class T>
void softmax_forward(index rows, index cols, const T* x, T* y);
template <class T>
void softmax_backward(index rows, index cols, const T* y, const T* dy, T* dx);
template <class T>
void copy_columns(index rows, std::span<const kernels::Columns<T>> parts);

}  // namespace sfumato::cuda
