// The micro-kernels, which most of the other families call.
#include "tensor/kernels/register_blocks.h"

#include "tensor/kernels/sets/set.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

template class TailBuffer<Number>;
template TileBlock<Number> tile_function<Number>(index, index);
template TileBlock<Number> panel_tile_function<Number>(index, index);
template TileBlock<Number> pair_function<Number>(index);
template RowsFn<Number> rows_function<Number>(index, index);
template OuterBlock<Number> outer_function<Number, false>(index, index);
template OuterBlock<Number> outer_function<Number, true>(index, index);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
