// The transposed convolution: what conv2d's pullback does with a gradient, as an operation of its own.
#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

// The convolution whose adjoint this is: it maps y [N,OH,OW,Cout] to x [N,H,W,Cin].
kernels::Conv adjoint_of(const Var& x, const Var& weight, const Var& bias,
                         const ConvTranspose2dOptions& o) {
  const char* op = "conv_transpose2d";
  expect_rank(op, "input", x.value(), 4);
  expect_rank(op, "weight", weight.value(), 4);
  kernels::Conv s{};
  s.n = x.dim(0), s.oh = x.dim(1), s.ow = x.dim(2), s.k = x.dim(3);
  s.c = weight.dim(1), s.kh = weight.dim(2), s.kw = weight.dim(3);
  s.stride = o.stride, s.pad_top = s.pad_left = o.padding;
  expect_shape(op, "weight", weight.value(), {s.k, s.c, s.kh, s.kw});
  expect_kind(op, "weight", weight.value(), x.kind());
  if (bias.defined()) {
    expect_shape(op, "bias", bias.value(), {s.c});
    expect_kind(op, "bias", bias.value(), wide(x.kind()));
  }
  if (o.stride < 1 || o.padding < 0 || o.output_padding < 0 || o.output_padding >= o.stride)
    throw Error(op, fmt::format("expected stride >= 1, padding >= 0 and output_padding from 0 to "
                                "stride - 1, got {}, {} and {}",
                                o.stride, o.padding, o.output_padding));
  const auto extent = [&](std::int64_t in, std::int64_t kernel) {
    return (in - 1) * o.stride - 2 * o.padding + kernel + o.output_padding;
  };
  s.h = extent(s.oh, s.kh), s.w = extent(s.ow, s.kw);
  if (s.oh < 1 || s.ow < 1 || s.h < 1 || s.w < 1)
    throw Error(op, fmt::format("input {} and kernel {}x{} leave no output (stride {}, padding {})",
                                x.shape().str(), s.kh, s.kw, o.stride, o.padding));
  return s;
}

}  // namespace

// y[b, i·s + u - top, j·s + v - left, o] += Σ_p x[b,i,j,p] w[p,o,u,v], + bias[o]
// dx: the convolution of dy;  dw: the convolution's, of which x is the output's gradient and dy the input.
Var conv_transpose2d(const Var& x, const Var& weight, const Var& bias,
                     const ConvTranspose2dOptions& options) {
  const kernels::Conv s = adjoint_of(x, weight, bias, options);
  const Tensor xv = x.value(), w = weight.value();
  const Var y = dispatch_float("conv_transpose2d", x.kind(), [&]<class T>() {
    Tensor to({s.n, s.h, s.w, s.c}, x.kind());
    const kernels::Kernels<T>& device = kernels::on<T>(to.device());
    device.conv_backward(s, {.x = to.data<T>()}, xv.data<T>(), w.data<T>(), {.dx = to.data<T>()});
    const double flop = 2 * static_cast<double>(xv.size()) * static_cast<double>(s.c * s.kh * s.kw);
    return record("conv_transpose2d", to, {x, weight}, flop,
                  [=](const Tensor& dy, const Needs& needs) {
                    const kernels::Kernels<T>& on = kernels::on<T>(dy.device());
                    const kernels::ConvInput<T> in{.x = dy.data<T>()};
                    Gradients g(2);
                    if (needs[0]) {
                      g[0] = Tensor(xv.shape(), xv.kind());
                      on.conv_forward(s, in, w.data<T>(), {.y = g[0].template data<T>()}, nullptr);
                    }
                    if (needs[1]) {
                      g[1] = needs.room(1, dtype_of<Wide<T>>());
                      on.conv_backward(s, in, xv.data<T>(), w.data<T>(),
                                       {.dw = g[1].template data<Wide<T>>()});
                    }
                    return g;
                  });
  });
  return bias.defined() ? y + cast(bias, y.dtype()) : y;
}

}  // namespace sfumato
