// Winograd's gradients: winograd.h.
#include "tensor/kernels/winograd_backward.h"

#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template void winograd_backward(const Conv&, const ConvInput<Number>&, const Number*, const Number*,
                                const ConvGradients<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
