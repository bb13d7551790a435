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

// d = alpha op(a) op(b) + beta d (+ bias), all stored by columns.
template <class T>
struct Product {
  cublasLtMatmulDesc desc;
  cublasLtMatrixLayout a_layout, b_layout, d_layout;
  T alpha, beta;
  const T *a, *b;
  T* d;

  T element(std::int64_t i, std::int64_t j) const {
    const bool a_stored = desc.first == CUBLAS_OP_N, b_stored = desc.second == CUBLAS_OP_N;
    const std::int64_t k = a_stored ? a_layout.cols : a_layout.rows;
    double sum = 0;
    for (std::int64_t l = 0; l < k; ++l)
      sum += static_cast<double>(a_stored ? a[i + l * a_layout.ld] : a[l + i * a_layout.ld]) *
             static_cast<double>(b_stored ? b[l + j * b_layout.ld] : b[j + l * b_layout.ld]);
    return static_cast<T>(alpha * sum);
  }
  void operator()() const {
    for (std::int64_t j = 0; j < d_layout.cols; ++j)
      for (std::int64_t i = 0; i < d_layout.rows; ++i) {
        T& to = d[i + j * d_layout.ld];
        to = element(i, j) + (beta == 0 ? T(0) : beta * to);
        if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS) to += static_cast<const T*>(desc.bias)[i];
      }
  }
};

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
    sfumato::cuda::submit(Product<T>{*p, *la, *lb, *lc, *static_cast<const T*>(alpha),
                                     *static_cast<const T*>(beta), static_cast<const T*>(a),
                                     static_cast<const T*>(b), static_cast<T*>(d)});
  };
  if (lc->type == CUDA_R_64F) {
    go.operator()<double>();
  } else {
    go.operator()<float>();
  }
  return CUBLAS_STATUS_SUCCESS;
}
