#include "cuda/emulator/cublasLt.h"

#include <algorithm>
#include <cstring>

#include "cuda/emulator/simt.h"
#include "cuda/runtime.h"

struct cublasLtMatmulDesc {
  cublasComputeType_t compute;
  cublasOperation_t first, second;
  cublasLtEpilogue_t epilogue;
  const void* bias;
};
struct cublasLtMatrixLayout {
  cudaDataType_t type;
  std::int64_t rows, cols, ld;
};
struct cublasLtMatmulPreference {
  std::uint32_t alignment[3] = {256, 256, 256};  // of a, b and the result
};

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute,
                                        cudaDataType_t) {
  *desc =
      new cublasLtMatmulDesc{compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t what, const void* to,
                                              std::size_t bytes) {
  const auto set = [&](auto& field) {
    if (bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&field, to, bytes);
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(d->first);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(d->second);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return set(d->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return set(d->bias);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                                          std::uint64_t rows, std::uint64_t cols, std::int64_t ld) {
  if (ld < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new cublasLtMatrixLayout{type, static_cast<std::int64_t>(rows),
                                     static_cast<std::int64_t>(cols), ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t what,
                                                    const void* to, std::size_t bytes) {
  if (what < CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES ||
      what > CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES)
    return CUBLAS_STATUS_SUCCESS;
  std::uint32_t& field = preference->alignment[what - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES];
  if (bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, to, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  *results = {};
  std::copy_n(preference->alignment, 3, results->algo.data);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

namespace {

// D = alpha op(A) op(B) + beta C (+ bias), all by columns.
template <class T>
void multiply(cublasLtMatmulDesc p, cublasLtMatrixLayout la, cublasLtMatrixLayout lb,
              cublasLtMatrixLayout lc, T alpha, const T* a, const T* b, T beta, T* d) {
  const std::int64_t k = p.first == CUBLAS_OP_N ? la.cols : la.rows;
  for (std::int64_t j = 0; j < lc.cols; ++j)
    for (std::int64_t i = 0; i < lc.rows; ++i) {
      double sum = 0;
      for (std::int64_t l = 0; l < k; ++l)
        sum += static_cast<double>(p.first == CUBLAS_OP_N ? a[i + l * la.ld] : a[l + i * la.ld]) *
               static_cast<double>(p.second == CUBLAS_OP_N ? b[l + j * lb.ld] : b[j + l * lb.ld]);
      T& to = d[i + j * lc.ld];
      to = static_cast<T>(alpha * sum) + (beta == 0 ? T(0) : beta * to) +
           (p.epilogue == CUBLASLT_EPILOGUE_BIAS ? static_cast<const T*>(p.bias)[i] : T(0));
    }
}

}  // namespace

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t p, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t la, const void* b,
                              cublasLtMatrixLayout_t lb, const void* beta, const void* c,
                              cublasLtMatrixLayout_t lc, void* d, cublasLtMatrixLayout_t,
                              const cublasLtMatmulAlgo_t* algo, void*, std::size_t, cudaStream_t) {
  const auto m = p->first == CUBLAS_OP_N ? la->rows : la->cols;
  const auto k = p->first == CUBLAS_OP_N ? la->cols : la->rows;
  const auto k2 = p->second == CUBLAS_OP_N ? lb->rows : lb->cols;
  const auto n = p->second == CUBLAS_OP_N ? lb->cols : lb->rows;
  if (c != d || k != k2 || m != lc->rows || n != lc->cols) return CUBLAS_STATUS_INVALID_VALUE;
  const void* addresses[] = {a, b, d, p->epilogue == CUBLASLT_EPILOGUE_BIAS ? p->bias : nullptr};
  sfumato::cuda::emulator::expect_device_addresses("cublasLtMatmul", addresses, sizeof addresses);
  for (int i = 0; i < 3; ++i)
    if (reinterpret_cast<std::uintptr_t>(addresses[i]) % algo->data[i] != 0)
      return CUBLAS_STATUS_NOT_SUPPORTED;
  const auto go = [&]<class T>() {
    sfumato::cuda::submit([p = *p, la = *la, lb = *lb, lc = *lc, a, b, d,
                           alpha = *static_cast<const T*>(alpha),
                           beta = *static_cast<const T*>(beta)] {
      multiply<T>(p, la, lb, lc, alpha, static_cast<const T*>(a), static_cast<const T*>(b), beta,
                  static_cast<T*>(d));
    });
  };
  if (lc->type == CUDA_R_64F) {
    go.operator()<double>();
  } else {
    go.operator()<float>();
  }
  return CUBLAS_STATUS_SUCCESS;
}
