// The GPU as tensor/backend.h wants it. The tables list every kernel that it has.
#include "cuda/attention.h"
#include "cuda/conv.h"
#include "cuda/copy.h"
#include "cuda/gemm.h"
#include "cuda/index_check.h"
#include "cuda/linear.h"
#include "cuda/memory.h"
#include "cuda/norm.h"
#include "cuda/phases.h"
#include "cuda/pointwise.h"
#include "cuda/runtime.h"
#include "cuda/sum.h"
#include "tensor/backend.h"

namespace sfumato::cuda {
namespace {

template <class T>
constexpr kernels::Kernels<T> make_table() {
  return {
      kernels::GemmKernels<T>{.gemm = gemm<T>,
                              .gemm_wide = gemm<T, Wide<T>>,
                              .linear_forward = linear_forward<T>,
                              .linear_backward = linear_backward<T>},
      kernels::ConvKernels<T>{.conv_forward = conv_forward<T>,
                              .conv_backward = conv_backward<T>,
                              .conv_filters_size = conv_filters_size<T>,
                              .conv_filters = conv_filters<T>},
      kernels::NormKernels<T>{.group_norm_forward = group_norm_forward<T>,
                              .group_norm_backward = group_norm_backward<T>},
      kernels::AttentionKernels<T>{.attention_forward = attention_forward<T>,
                                   .attention_backward = attention_backward<T>},
      kernels::PointwiseKernels<T>{.silu_forward = silu_forward<T>,
                                   .silu_backward = silu_backward<T>,
                                   .gelu_tanh_forward = gelu_tanh_forward<T>,
                                   .gelu_tanh_backward = gelu_tanh_backward<T>,
                                   .softmax_forward = softmax_forward<T>,
                                   .softmax_backward = softmax_backward<T>,
                                   .copy_columns = copy_columns<T>,
                                   .sum_rows = sum_rows<T>,
                                   .sum = sum<T>,
                                   .sum_of_squares = sum_of_squares<T>},
  };
}
constexpr kernels::Kernels<float> kF32 = make_table<float>();
constexpr kernels::Kernels<double> kF64 = make_table<double>();
constexpr kernels::Kernels<bf16> kBf16 = make_table<bf16>();

void copy_and_check(Device to, void* destination, Device from, const void* source,
                    std::size_t bytes) {
  copy_between(to, destination, from, source, bytes);
  if (to == Device::cpu) throw_index_fault();
}

void synchronize_and_check() {
  synchronize();
  throw_index_fault();
}

std::string use_and_prepare(int index) {
  std::string why_not = use(index);
  if (why_not.empty()) Phases::prepare();
  return why_not;
}

// Backend's opaque types are this folder's classes.
auto* outside(Recording* r) { return reinterpret_cast<Backend::Recording*>(r); }
auto* outside(Pool* p) { return reinterpret_cast<Backend::Pool*>(p); }
auto* inside(Backend::Recording* r) { return reinterpret_cast<Recording*>(r); }
auto* inside(const Backend::Recording* r) { return reinterpret_cast<const Recording*>(r); }
auto* inside(Backend::Pool* p) { return reinterpret_cast<Pool*>(p); }

}  // namespace

extern const Backend backend;
const Backend backend{
    .use = use_and_prepare,
    .name = name,
    .allocate = allocate,
    .release = release,
    .copy = copy_and_check,
    .synchronize = synchronize_and_check,
    .check_indices = check_indices,
    .start_recording = start_recording,
    .stop_recording = [] { return outside(stop_recording()); },
    .replay = [](const Backend::Recording* r) { replay(inside(r)); },
    .forget = [](Backend::Recording* r) noexcept { forget(inside(r)); },
    .new_pool = [] { return outside(new_pool()); },
    .use_pool = [](Backend::Pool* p) { return outside(use_pool(inside(p))); },
    .delete_pool = [](Backend::Pool* p) noexcept { delete_pool(inside(p)); },
    .f32 = &kF32,
    .f64 = &kF64,
    .bf16 = &kBf16,
    .allow_tf32 = allow_tf32,
    .launches = launches,
};

}  // namespace sfumato::cuda
