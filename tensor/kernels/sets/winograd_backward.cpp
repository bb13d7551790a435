// Winograd's gradients: winograd.h.
#include "tensor/kernels/winograd_backward.h"

#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

extern template void winograd_filters(const Conv&, const WeightOrder&, const Number*, Number*);
extern template void winograd(const WinogradJob<Number>&);
extern template void winograd_inputs(const WinogradInput<Number>&, const WinogradBlock&, Range,
                                     Range, const TileLayout&, Number*);
extern template void group_norm_gradients(const NormBackward<Number>&);
extern template void group_norm_backward_image(const NormImageBackward<Number>&);
template void winograd_backward(const Conv&, const ConvInput<Number>&, const Number*, const Number*,
                                const ConvGradients<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
