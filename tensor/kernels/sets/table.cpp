// The whole table, of its families.
#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template <class Family>
static Family filled() {
  Family family;
  fill(family);
  return family;
}

void fill(Kernels<Number>& table) {
  table = {filled<GemmKernels<Number>>(), filled<ConvKernels<Number>>(),
           filled<NormKernels<Number>>(), filled<AttentionKernels<Number>>(),
           filled<PointwiseKernels<Number>>()};
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
