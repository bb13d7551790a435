// Convolutions, but for Winograd (winograd_forward.cpp, winograd_backward.cpp).
#include "tensor/kernels/convolution.h"

#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

extern template void gemm_rows(const GemmShape&, const GemmRows<Number>&, const Number*,
                               const Number*, Number*);
extern template void gemm_columns(const GemmShape&, const Number*, const Number*, Number*, Number*);
template void fill(ConvKernels<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
