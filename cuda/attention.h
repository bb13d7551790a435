// Attention on a GPU.
#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

template <class T>
void attention_forward(const kernels::AttentionForward<T>& a);
template <class T>
void attention_backward(const kernels::AttentionBackward<T>& a);

}  // namespace sfumato::cuda
