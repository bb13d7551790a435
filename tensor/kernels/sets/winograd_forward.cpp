// Winograd's forward convolution: winograd.h.
#include "tensor/kernels/winograd_forward.h"

#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template index winograd_conv_filters_size<Number>(const Conv&, bool);
template void winograd_conv_filters(const Conv&, bool, const Number*, Number*);
template void winograd_conv_forward(const Conv&, const ConvInput<Number>&, const Number*,
                                    const ConvOutput<Number>&, const Number*);
// winograd_passes.h, for sets/winograd_backward.cpp:
template void winograd_filters(const Conv&, const WeightOrder&, const Number*, Number*);
template void winograd(const WinogradJob<Number>&);
template void winograd_inputs(const WinogradInput<Number>&, const WinogradBlock&, Range, Range,
                              const TileLayout&, Number*);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
