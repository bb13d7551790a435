#include "cuda/conv.h"
#include "cuda/linear.h"

namespace sfumato::cuda {
namespace {

kernels::Conv as_conv(const kernels::Linear& s) {
  return {.n = 1,
          .h = s.m,
          .w = 1,
          .c = s.in,
          .oh = s.m,
          .ow = 1,
          .k = s.out,
          .kh = 1,
          .kw = 1,
          .stride = 1,
          .pad_top = 0,
          .pad_left = 0};
}

}  // namespace

template <class T>
void linear_forward(const kernels::LinearForward<T>& a) {
  conv_forward<T>(as_conv(a.linear), {.x = a.x, .silu = a.linear.silu}, a.w,
                  {.y = a.y, .bias = a.bias, .residual = a.residual}, nullptr);
}

template <class T>
void linear_backward(const kernels::LinearBackward<T>& a) {
  conv_backward<T>(as_conv(a.linear), {.x = a.x, .silu = a.linear.silu}, a.dy, a.w,
                   {.dx = a.dx, .add = a.add, .dw = a.dw, .db = a.db});
}

#define SFUMATO_INSTANTIATE(T)                                    \
  template void linear_forward(const kernels::LinearForward<T>&); \
  template void linear_backward(const kernels::LinearBackward<T>&);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(double)
SFUMATO_INSTANTIATE(bf16)

}  // namespace sfumato::cuda
