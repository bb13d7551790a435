// Normalisation, and the other kernels that pass over memory once or twice.
#include "tensor/kernels/norm.h"

#include "tensor/kernels/pointwise.h"
#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template void fill(NormKernels<Number>&);
template void fill(PointwiseKernels<Number>&);
// group_norm.h, for the convolutions:
template void group_statistics(const GroupNorm&, Range, const Image<const Number>&, Number*,
                               Number*, Number*);
template void group_norm_statistics(const GroupNorm&, const Image<const Number>&, Number*, Number*);
template void group_norm_gradients(const NormBackward<Number>&);
template void group_norm_backward_image(const NormImageBackward<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
