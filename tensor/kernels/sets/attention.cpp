// Attention.
#include "tensor/kernels/attention.h"

#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template void fill(AttentionKernels<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
