// Attention in bf16 on tensor cores.
#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

// Whether rows of the heads are made of whole chunks (chunk.h) of which there are not too many: only then the two others may
// be called.
bool attention_fits_tiles(const kernels::AttentionForward<bf16>& a);
bool attention_fits_tiles(const kernels::AttentionBackward<bf16>& a);
void attention_forward_by_tiles(const kernels::AttentionForward<bf16>& a);
void attention_backward_by_tiles(const kernels::AttentionBackward<bf16>& a);

}  // namespace sfumato::cuda
