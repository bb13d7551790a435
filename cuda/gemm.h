#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

// Gemm of kernels.h by cuBLASLt. The library's choice of algorithm is asked for once a problem, so that a problem's
// results are the same bits whenever it is computed.
template <class T, class Out>
void gemm(const kernels::Gemm<T, Out>& g);

// As Backend::allow_tf32 says; and what it said last.
void allow_tf32(bool allow);
bool tf32_allowed();

}  // namespace sfumato::cuda
