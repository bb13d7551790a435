// Linear layers on a GPU: 1x1 convolutions of an image of one column.
#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

template <class T>
void linear_forward(const kernels::LinearForward<T>& a);
template <class T>
void linear_backward(const kernels::LinearBackward<T>& a);

}  // namespace sfumato::cuda
