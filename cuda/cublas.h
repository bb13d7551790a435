// cuBLASLt, opened when a product is first asked for: a program that never uses a GPU neither needs the library nor
// loads its hundreds of megabytes.
#pragma once
#if defined(SFUMATO_CUDA_EMULATED)
#include "cuda/emulator/cublasLt.h"
#else
#include <cublasLt.h>
#endif

namespace sfumato::cuda {

struct CublasLt {
  decltype(&::cublasLtCreate) create;
  decltype(&::cublasLtMatmulDescCreate) desc_create;
  decltype(&::cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&::cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&::cublasLtMatrixLayoutCreate) layout_create;
  decltype(&::cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&::cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&::cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&::cublasLtMatmul) matmul;
  cublasLtHandle_t handle;
};

// Throws Error when the library is not there or cannot be started.
const CublasLt& cublas();

}  // namespace sfumato::cuda
