#include "cuda/cublas.h"

#include <dlfcn.h>

#include <string>
#include <type_traits>

#include "tensor/error.h"

namespace sfumato::cuda {
namespace {

CublasLt open() {
  CublasLt lt{};
#if defined(SFUMATO_CUDA_EMULATED)
  lt = {cublasLtCreate,
        cublasLtMatmulDescCreate,
        cublasLtMatmulDescDestroy,
        cublasLtMatmulDescSetAttribute,
        cublasLtMatrixLayoutCreate,
        cublasLtMatrixLayoutDestroy,
        cublasLtMatmulPreferenceCreate,
        cublasLtMatmulPreferenceDestroy,
        cublasLtMatmulPreferenceSetAttribute,
        cublasLtMatmulAlgoGetHeuristic,
        cublasLtMatmul,
        nullptr};
#else
  void* library = dlopen(SFUMATO_CUBLASLT, RTLD_NOW | RTLD_LOCAL);
  if (!library) throw Error("cuda", std::string("cuBLASLt cannot be used: ") + dlerror());
  const auto find = [&](auto& f, const char* name) {
    f = reinterpret_cast<std::remove_reference_t<decltype(f)> >(dlsym(library, name));
    if (!f) throw Error("cuda", std::string("cuBLASLt has no ") + name);
  };
  find(lt.create, "cublasLtCreate");
  find(lt.desc_create, "cublasLtMatmulDescCreate");
  find(lt.desc_destroy, "cublasLtMatmulDescDestroy");
  find(lt.desc_set, "cublasLtMatmulDescSetAttribute");
  find(lt.layout_create, "cublasLtMatrixLayoutCreate");
  find(lt.layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(lt.preference_create, "cublasLtMatmulPreferenceCreate");
  find(lt.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(lt.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(lt.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(lt.matmul, "cublasLtMatmul");
#endif
  if (lt.create(&lt.handle) != CUBLAS_STATUS_SUCCESS)
    throw Error("cuda", "cuBLASLt could not be started");
  return lt;
}

}  // namespace

const CublasLt& cublas() {
  static const CublasLt instance = open();
  return instance;
}

}  // namespace sfumato::cuda
