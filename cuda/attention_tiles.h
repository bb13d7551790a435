// Attention in bf16 and f32 on tensor cores.
#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

// Whether rows of the heads are made of whole chunks (chunk.h) of which there are not too many: only then the two others may
// be called. T: bf16, or float, whose products are those of TF32 where that is allowed, otherwise of f32 to 22 bits.
template <class T>
bool attention_fits_tiles(const kernels::AttentionForward<T>& a);
template <class T>
bool attention_fits_tiles(const kernels::AttentionBackward<T>& a);
template <class T>
void attention_forward_by_tiles(const kernels::AttentionForward<T>& a);
template <class T>
void attention_backward_by_tiles(const kernels::AttentionBackward<T>& a);

}  // namespace sfumato::cuda
