#include "cuda/emulator/cublasLt.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "cuda/emulator/simt.h"
#include "cuda/runtime.h"
#include "tensor/bf16.h"

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
  std::uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C, and D and the bias
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
      what > CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES)
    return CUBLAS_STATUS_SUCCESS;
  std::uint32_t& field = preference->alignment[what - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES];
  if (bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, to, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
// NOLINTNEXTLINE(readability-function-size): NVIDIA's parameters
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* found) {
  *results = {};
  std::copy_n(preference->alignment, 4, results->algo.data);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

namespace {

// What tensor cores multiply: TF32 has the 11 leading bits of a float, of two equally near numbers the larger one.
double factor(double v, cublasComputeType_t) { return v; }
double factor(float v, cublasComputeType_t compute) {
  if (compute != CUBLAS_COMPUTE_32F_FAST_TF32) return static_cast<double>(v);
  const std::uint32_t bits = (std::bit_cast<std::uint32_t>(v) + 0x1000u) & ~0x1fffu;
  return static_cast<double>(std::bit_cast<float>(bits));
}

template <class T>
struct Factor {
  const T* begin;
  std::int64_t row_step, col_step;
  Factor(const void* x, cublasLtMatrixLayout layout, cublasOperation_t op)
      : begin(static_cast<const T*>(x)),
        row_step(op == CUBLAS_OP_N ? 1 : layout.ld),
        col_step(op == CUBLAS_OP_N ? layout.ld : 1) {}
  T at(std::int64_t row, std::int64_t col) const { return begin[row * row_step + col * col_step]; }
};

// D = alpha op(A) op(B) + beta C (+ bias), all by columns; k numbers are summed.
struct Product {
  cublasLtMatmulDesc p;
  cublasLtMatrixLayout result;
  std::int64_t k;
  double alpha, beta;

  template <class T, class Out>
  void operator()(const Factor<T>& a, const Factor<T>& b, Out* d) const {
    for (std::int64_t j = 0; j < result.cols; ++j)
      for (std::int64_t i = 0; i < result.rows; ++i) {
        double sum = 0;
        for (std::int64_t l = 0; l < k; ++l)
          sum += factor(a.at(i, l), p.compute) * factor(b.at(l, j), p.compute);
        Out& to = d[i + j * result.ld];
        sum *= alpha;
        if (beta != 0) sum += beta * static_cast<double>(to);
        if (p.epilogue == CUBLASLT_EPILOGUE_BIAS)
          sum += static_cast<double>(static_cast<const Out*>(p.bias)[i]);
        to = static_cast<Out>(sum);
      }
  }
};

}  // namespace

// NOLINTNEXTLINE(readability-function-size): NVIDIA's parameters
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
  for (int i = 0; i < 4; ++i)
    if (reinterpret_cast<std::uintptr_t>(addresses[i]) % algo->data[i] != 0)
      return CUBLAS_STATUS_NOT_SUPPORTED;
  if (p->epilogue == CUBLASLT_EPILOGUE_BIAS && lc->type != CUDA_R_32F)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (la->type != lb->type) return CUBLAS_STATUS_NOT_SUPPORTED;
  const auto go = [&]<class T, class Out, class Scale>() {
    const Product product{*p, *lc, k, static_cast<double>(*static_cast<const Scale*>(alpha)),
                          static_cast<double>(*static_cast<const Scale*>(beta))};
    const Factor<T> first(a, *la, p->first), second(b, *lb, p->second);
    sfumato::cuda::submit([=] { product(first, second, static_cast<Out*>(d)); });
    return CUBLAS_STATUS_SUCCESS;
  };
  using sfumato::bf16;
  if (la->type == CUDA_R_64F) return go.operator()<double, double, double>();
  if (la->type == CUDA_R_32F) return go.operator()<float, float, float>();
  if (lc->type == CUDA_R_32F) return go.operator()<bf16, float, float>();
  return go.operator()<bf16, bf16, float>();
}
