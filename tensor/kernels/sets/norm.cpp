// Normalisation, and the other kernels that pass over memory once or twice.
#include "tensor/kernels/norm.h"

#include "tensor/kernels/pointwise.h"
#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template void fill(NormKernels<Number>&);
template void fill(PointwiseKernels<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
