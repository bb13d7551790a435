// cuBLASLt stores matrices by columns: our row-major C = A B is its Cᵀ = Bᵀ Aᵀ. So its first matrix is our b, its
// second our a, and a matrix of ours with rows of n elements is one of its with columns of n.
#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <type_traits>

#include "cuda/cublas.h"
#include "cuda/for_each.h"
#include "cuda/gemm.h"
#include "cuda/memory.h"
#include "cuda/runtime.h"
#include "cuda/sum.h"
#include "tensor/error.h"

namespace sfumato::cuda {
namespace {

using kernels::Gemm;
using kernels::index;

constexpr std::size_t kWorkspace = std::size_t{32} << 20;

void expect(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error("gemm", std::string("cuBLASLt: ") + what + ", status " + std::to_string(status));
}

// Never given back, so that recordings may keep its address.
void* workspace() {
  static void* const block = fetch(kWorkspace);
  if (!block) throw Error("gemm", "no memory left for cuBLASLt's workspace of 32 MB");
  return block;
}

// Whatever cuBLASLt's choice of algorithm may depend on.
struct Problem {
  cudaDataType_t type, out;
  cublasComputeType_t compute;
  index m, n, k;
  bool transpose_a, transpose_b, accumulate, bias;
  index lda, ldb, ldc;
  std::uint32_t align_a, align_b, align_c, align_bias;
  auto operator<=>(const Problem&) const = default;
};

// The largest power of two up to 256 that divides the address.
std::uint32_t alignment(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p) | 256;
  return static_cast<std::uint32_t>(address & -address);
}

template <class T>
constexpr cudaDataType_t type_of() {
  if constexpr (std::is_same_v<T, double>) return CUDA_R_64F;
  return std::is_same_v<T, bf16> ? CUDA_R_16BF : CUDA_R_32F;
}

bool tf32 = false;

template <class T>
cublasComputeType_t compute_type() {
  if (std::is_same_v<T, double>) return CUBLAS_COMPUTE_64F;
  return std::is_same_v<T, float> && tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

template <class T, class Out>
Problem problem(const Gemm<T, Out>& g) {
  return {.type = type_of<T>(),
          .out = type_of<Out>(),
          .compute = compute_type<T>(),
          .m = g.m,
          .n = g.n,
          .k = g.k,
          .transpose_a = g.transpose_a,
          .transpose_b = g.transpose_b,
          .accumulate = g.accumulate,
          .bias = g.bias != nullptr,
          .lda = g.lda           ? g.lda
                 : g.transpose_a ? g.m
                                 : g.k,
          .ldb = g.ldb           ? g.ldb
                 : g.transpose_b ? g.k
                                 : g.n,
          .ldc = g.ldc ? g.ldc : g.n,
          .align_a = alignment(g.a),
          .align_b = alignment(g.b),
          .align_c = alignment(g.c),
          .align_bias = alignment(g.bias)};
}

// A problem as cuBLASLt knows it, with its choice of algorithm.
struct Plan {
  cublasLtMatmulDesc_t product{};
  cublasLtMatrixLayout_t first{}, second{}, result{};
  cublasLtMatmulAlgo_t algorithm{};

  template <class V>
  void set(cublasLtMatmulDescAttributes_t what, const V& value) {
    expect(cublas().desc_set(product, what, &value, sizeof value), "attribute of a product");
  }
};

cublasLtMatrixLayout_t layout(cudaDataType_t type, index rows, index cols, index ld) {
  cublasLtMatrixLayout_t made{};
  expect(cublas().layout_create(&made, type, static_cast<std::uint64_t>(rows),
                                static_cast<std::uint64_t>(cols), ld),
         "layout");
  return made;
}

void choose_algorithm(Plan& plan, const Problem& p) {
  const CublasLt& lt = cublas();
  cublasLtMatmulPreference_t preference{};
  expect(lt.preference_create(&preference), "preference");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
    expect(lt.preference_set(preference, what, &value, sizeof value), "preference");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.align_b);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.align_a);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.align_c);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, std::min(p.align_c, p.align_bias));
  // Not the reduction in place, whose order of additions is not fixed.
  const std::uint32_t reductions =
      CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      lt.heuristic(lt.handle, plan.product, plan.first, plan.second, plan.result, plan.result,
                   preference, 1, &found, &count);
  lt.preference_destroy(preference);
  expect(status, "choice of an algorithm");
  if (count == 0) throw Error("gemm", "cuBLASLt has no algorithm for this product");
  plan.algorithm = found.algo;
}

Plan make_plan(const Problem& p, const void* bias) {
  Plan plan;
  const cudaDataType_t factors = p.type == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F;  // alpha and beta
  expect(cublas().desc_create(&plan.product, p.compute, factors), "product");
  plan.set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  plan.set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (p.bias) {
    plan.set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    plan.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  plan.first = p.transpose_b ? layout(p.type, p.k, p.n, p.ldb) : layout(p.type, p.n, p.k, p.ldb);
  plan.second = p.transpose_a ? layout(p.type, p.m, p.k, p.lda) : layout(p.type, p.k, p.m, p.lda);
  plan.result = layout(p.out, p.n, p.m, p.ldc);
  choose_algorithm(plan, p);
  return plan;
}

// Plans are kept for the life of the process.
Plan& plan_for(const Problem& p, const void* bias) {
  static auto* const plans = new std::map<Problem, Plan>;
  const auto found = plans->find(p);
  return found != plans->end() ? found->second
                               : plans->emplace(p, make_plan(p, bias)).first->second;
}

// C = bias, or 0.
template <class Out, class Bias>
struct FillRows {
  Out* c;
  const Bias* bias;
  index n, ldc;
  constexpr void operator()(index i) const {
    c[i / n * ldc + i % n] = static_cast<Out>(bias ? bias[i % n] : Bias(0));
  }
};

// C (+)= op(A) op(B) + bias, for k > 0.
template <class T, class Out>
void multiply(const Gemm<T, Out>& g, const Problem& p) {
  Plan& plan = plan_for(p, g.bias);
  const void* const bias = g.bias;
  if (bias) plan.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  const Wide<T> alpha = 1, beta = g.accumulate ? 1 : 0;
  const CublasLt& lt = cublas();
  expect(
      lt.matmul(lt.handle, plan.product, &alpha, g.b, plan.first, g.a, plan.second, &beta, g.c,
                plan.result, g.c, plan.result, &plan.algorithm, workspace(), kWorkspace, stream()),
      "product");
  launched("gemm");
}

}  // namespace

template <class T, class Out>
void gemm(const Gemm<T, Out>& g) {
  if (g.sums) sum_rows<T>(1, g.k, g.m, g.a, g.sums);
  if (g.m == 0 || g.n == 0) return;
  // cuBLASLt adds a bias of the type of C alone.
  const bool apart = g.bias && !std::is_same_v<T, float>;
  Gemm<T, Out> product = g;
  if (!g.accumulate && (apart || g.k == 0)) {
    const FillRows<Out, Wide<T>> fill{g.c, g.bias, g.n, g.ldc ? g.ldc : g.n};
    for_each(g.m * g.n, fill);
    product.bias = nullptr, product.accumulate = true;
  }
  if (g.k > 0) multiply(product, problem(product));
}

void allow_tf32(bool allow) { tf32 = allow; }
bool tf32_allowed() { return tf32; }

template void gemm(const Gemm<float>&);
template void gemm(const Gemm<double>&);
template void gemm(const Gemm<bf16>&);
template void gemm(const Gemm<bf16, float>&);

}  // namespace sfumato::cuda
