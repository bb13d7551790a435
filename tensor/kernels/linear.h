// Linear layers, made of products.
#pragma once
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/pointwise.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// y[i] = a[i] + b[i]; y may be a or b.
template <class T>
void add(index n, const T* a, const T* b, T* y) {
  parallel_ranges(n, kGrain, [=](index begin, index end) {
    for (index i = begin; i < end; ++i) y[i] = a[i] + b[i];
  });
}

template <class T>
void linear_forward(const LinearForward<T>& a) {
  const Linear& s = a.linear;
  const Scratch<T> u(s.silu ? s.m * s.in : 0);
  if (s.silu) silu_forward(s.m * s.in, a.x, u.get());
  gemm<T>({.m = s.m,
           .n = s.out,
           .k = s.in,
           .transpose_b = true,
           .a = s.silu ? u.get() : a.x,
           .b = a.w,
           .c = a.y,
           .bias = a.bias});
  if (a.residual) add(s.m * s.out, a.residual, a.y, a.y);
}

template <class T>
void linear_backward(const LinearBackward<T>& a) {
  const Linear& s = a.linear;
  const index n = s.m * s.in;
  if (a.dx) {
    const Scratch<T> room(a.add ? n : 0);
    T* const dx = a.add ? room.get() : a.dx;
    gemm<T>({.m = s.m, .n = s.in, .k = s.out, .a = a.dy, .b = a.w, .c = dx});
    if (s.silu) silu_backward(n, a.x, dx, dx);
    if (a.add) add(n, a.add, dx, a.dx);
  }
  if (a.dw && s.in > 0) {
    const Scratch<T> u(s.silu ? n : 0);
    if (s.silu) silu_forward(n, a.x, u.get());
    gemm<T>({.m = s.out,
             .n = s.in,
             .k = s.m,
             .transpose_a = true,
             .a = a.dy,
             .b = s.silu ? u.get() : a.x,
             .c = a.dw,
             .sums = a.db});
  } else if (a.db) {
    sum_rows(1, s.m, s.out, a.dy, a.db);
  }
}

// The rows of this family.
template <class T>
void fill(GemmKernels<T>& table) {
  table = {
      .gemm = gemm<T>,
      .gemm_wide = gemm<T>,
      .linear_forward = linear_forward<T>,
      .linear_backward = linear_backward<T>,
  };
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
