// All kernels of one instruction set. CMake compiles this file once for each, with other flags and
// another SFUMATO_ISA_NAME (which is also the namespace, see base.h).
#include "tensor/kernels/attention.h"
#include "tensor/kernels/convolution.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/kernel_table.h"
#include "tensor/kernels/norm.h"
#include "tensor/kernels/pointwise.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {
namespace {

// Qualified names: plain ones would be ambiguous with the public functions of kernels.h.
namespace own = SFUMATO_ISA_NAME;

template <class T>
constexpr KernelTable<T> kTable = {
    own::gemm<T>,
    own::conv_forward<T>,
    own::conv_filters_size<T>,
    own::conv_filters<T>,
    own::conv_backward<T>,
    own::group_norm_forward<T>,
    own::group_norm_backward<T>,
    own::attention_forward<T>,
    own::attention_backward<T>,
    own::silu_forward<T>,
    own::silu_backward<T>,
    own::softmax_forward<T>,
    own::softmax_backward<T>,
    own::copy_rows<T>,
    own::sum_rows<T>,
};

}  // namespace

extern const KernelSet kernel_set{kTable<float>, kTable<double>};

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
