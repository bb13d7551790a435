// Convolutions, but for Winograd (winograd_forward.cpp, winograd_backward.cpp).
#include "tensor/kernels/convolution.h"

#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template void fill(ConvKernels<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
