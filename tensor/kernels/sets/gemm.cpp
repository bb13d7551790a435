// Matrix products.
#include "tensor/kernels/gemm.h"

#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template void fill(GemmKernels<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
