// What one instruction set provides. kernel_set.cpp is compiled once for each and fills one of
// these; dispatch.cpp chooses among them.
//
// A new kernel: declare it in kernels.h, write it as a template in a header here, add its pointer
// below and in kernel_set.cpp, and call it through the table in dispatch.cpp.
#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::kernels {

template <class T>
struct KernelTable {
  void (*gemm)(const Gemm&, const T* a, const T* b, T* c, const T* bias, T* sums);
  void (*conv_forward)(const Conv&, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                       const T* filters);
  index (*conv_filters_size)(const Conv&, bool upsample);
  void (*conv_filters)(const Conv&, bool upsample, const T* w, T* filters);
  void (*conv_backward)(const Conv&, const ConvInput<T>& in, const T* dy, const T* w,
                        const ConvGradients<T>& g);
  void (*group_norm_forward)(const GroupNorm&, const T* x, const T* gamma, const T* beta, T* y,
                             T* mean, T* rstd);
  void (*group_norm_backward)(const GroupNorm&, const T* x, const T* gamma, const T* beta,
                              const T* mean, const T* rstd, const T* dy, const T* add, T* dx,
                              T* dgamma, T* dbeta);
  void (*attention_forward)(const Attention&, const T* q, const T* k, const T* v, T* out, T* lse);
  void (*attention_backward)(const Attention&, const T* q, const T* k, const T* v, const T* out,
                             const T* lse, const T* dout, T* dq, T* dk, T* dv);
  void (*silu_forward)(index n, const T* x, T* y);
  void (*silu_backward)(index n, const T* x, const T* dy, T* dx);
  void (*softmax_forward)(index rows, index cols, const T* x, T* y);
  void (*softmax_backward)(index rows, index cols, const T* y, const T* dy, T* dx);
  void (*copy_rows)(index rows, index cols, const T* from, index from_step, T* to, index to_step);
  void (*sum_rows)(index rows, index cols, const T* x, T* out);
};

struct KernelSet {
  KernelTable<float> f32;
  KernelTable<double> f64;
};

namespace generic {
extern const KernelSet kernel_set;
}
namespace avx2 {
extern const KernelSet kernel_set;
}
namespace avx512 {
extern const KernelSet kernel_set;
}

}  // namespace sfumato::kernels
