// Matrix products, and linear layers.
#include "tensor/kernels/linear.h"
#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template void fill(GemmKernels<Number>&);
// For sets/convolution.cpp:
template void gemm_rows(const GemmShape&, const GemmRows<Number>&, const Number*, const Number*,
                        Number*);
template void gemm_columns(const GemmShape&, const Number*, const Number*, Number*, Number*);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
