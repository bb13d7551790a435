#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

// Gemm of kernels.h by cuBLASLt. The library's choice of algorithm is asked for once a problem, so that a problem's
// results are the same bits whenever it is computed.
template <class T>
void gemm(const kernels::Gemm<T>& g);

}  // namespace sfumato::cuda
