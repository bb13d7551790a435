// Convolution and resampling of images [N, H, W, C].
#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"
#include "tensor/parallel.h"

namespace sfumato {

// y[b,i,j,o] = bias[o] + Σ_{u,v,p} x[b, i·s + u - top, j·s + v - left, p] w[o,p,u,v]
// dx: every output hands its gradient back to the inputs it saw, through the same weights.
// dw[o,p,u,v] = Σ_{b,i,j} dy[b,i,j,o] x[b, i·s + u - top, j·s + v - left, p],  db[o] = Σ dy[..., o]
Var conv2d(const Var& x, const Var& weight, const Var& bias, const Conv2dOptions& options) {
  expect_rank("conv2d", "input", x.value(), 4);
  expect_rank("conv2d", "weight", weight.value(), 4);
  expect_dtype("conv2d", "weight", weight.value(), x.dtype());
  const std::int64_t out = weight.dim(0), in = weight.dim(1);
  if (x.dim(3) != in)
    throw Error("conv2d", fmt::format("input {} has {} channels, weight {} expects {}",
                                      x.shape().str(), x.dim(3), weight.shape().str(), in));
  if (bias.defined()) {
    expect_shape("conv2d", "bias", bias.value(), {out});
    expect_dtype("conv2d", "bias", bias.value(), x.dtype());
  }
  kernels::Conv s{};
  s.n = x.dim(0), s.h = x.dim(1), s.w = x.dim(2), s.c = in, s.k = out;
  s.kh = weight.dim(2), s.kw = weight.dim(3), s.stride = options.stride;
  s.pad_top = options.pad_top, s.pad_left = options.pad_left;
  const std::int64_t room_h = s.h + options.pad_top + options.pad_bottom - s.kh;
  const std::int64_t room_w = s.w + options.pad_left + options.pad_right - s.kw;
  if (s.stride < 1 || room_h < 0 || room_w < 0)
    throw Error("conv2d", fmt::format("input {} is smaller than kernel {}x{} (stride {})",
                                      x.shape().str(), s.kh, s.kw, s.stride));
  s.oh = room_h / s.stride + 1;
  s.ow = room_w / s.stride + 1;
  const Tensor xv = x.value(), w = weight.value();
  return dispatch_float("conv2d", x.dtype(), [&]<class T>() {
    Tensor y({s.n, s.oh, s.ow, s.k}, xv.dtype());
    kernels::conv_forward<T>(s, {xv.data<T>()}, w.data<T>(),
                             {y.data<T>(), bias.defined() ? bias.value().data<T>() : nullptr});
    return record("conv2d", y, {x, weight, bias}, [=](const Tensor& dy, const Needs& needs) {
      Gradients g(3);
      if (needs[0]) {
        g[0] = Tensor(xv.shape(), xv.dtype());
        kernels::conv_backward_data<T>(s, dy.data<T>(), w.data<T>(), g[0].data<T>());
      }
      if (needs[1] || needs[2]) {
        g[1] = Tensor(w.shape(), w.dtype());
        if (needs[2]) g[2] = Tensor({s.k}, w.dtype());
        kernels::conv_backward_weights<T>(s, {xv.data<T>()}, dy.data<T>(), g[1].data<T>(),
                                          needs[2] ? g[2].data<T>() : nullptr);
      }
      return g;
    });
  });
}

namespace {

// Each row of `small` [N,H,W,C] beside the two rows of `large` [N,2H(+1),2W(+1),C] it covers.
template <class Body>
void for_each_row_pair(const Shape& small, const Shape& large, Body body) {
  const std::int64_t h = small[1], w = small[2], c = small[3], lh = large[1], lw = large[2];
  parallel_for(small[0] * h, [=](std::int64_t r) {
    const std::int64_t top = (r / h * lh + r % h * 2) * lw * c;
    body(r * w * c, top, top + lw * c, w, c);
  });
}

}  // namespace

// Every pixel becomes a 2x2 block; its gradient is the block's sum.
Var upsample_nearest2x(const Var& x) {
  expect_rank("upsample_nearest2x", "input", x.value(), 4);
  const Shape small = x.shape(), large{small[0], 2 * small[1], 2 * small[2], small[3]};
  return dispatch_float("upsample_nearest2x", x.dtype(), [&]<class T>() {
    Tensor y(large, x.dtype());
    const T* from = x.value().data<T>();
    T* to = y.data<T>();
    for_each_row_pair(small, large, [=](auto at, auto top, auto bottom, auto w, auto c) {
      for (std::int64_t j = 0; j < w; ++j)
        for (std::int64_t p = 0; p < c; ++p) {
          const T v = from[at + j * c + p];
          to[top + 2 * j * c + p] = to[top + (2 * j + 1) * c + p] = v;
          to[bottom + 2 * j * c + p] = to[bottom + (2 * j + 1) * c + p] = v;
        }
    });
    return record("upsample_nearest2x", y, {x}, [=](const Tensor& dy) {
      Tensor dx(small, dy.dtype());
      const T* g = dy.data<T>();
      T* d = dx.data<T>();
      for_each_row_pair(small, large, [=](auto at, auto top, auto bottom, auto w, auto c) {
        for (std::int64_t j = 0; j < w; ++j)
          for (std::int64_t p = 0; p < c; ++p)
            d[at + j * c + p] = (g[top + 2 * j * c + p] + g[top + (2 * j + 1) * c + p]) +
                                (g[bottom + 2 * j * c + p] + g[bottom + (2 * j + 1) * c + p]);
      });
      return Gradients{dx};
    });
  });
}

// Every 2x2 block becomes its mean; each pixel of it gets a quarter of the gradient.
Var avg_pool2x(const Var& x) {
  expect_rank("avg_pool2x", "input", x.value(), 4);
  const Shape large = x.shape(), small{large[0], large[1] / 2, large[2] / 2, large[3]};
  if (small[1] == 0 || small[2] == 0)
    throw Error("avg_pool2x", fmt::format("input {} is smaller than 2x2", large.str()));
  return dispatch_float("avg_pool2x", x.dtype(), [&]<class T>() {
    Tensor y(small, x.dtype());
    const T* from = x.value().data<T>();
    T* to = y.data<T>();
    for_each_row_pair(small, large, [=](auto at, auto top, auto bottom, auto w, auto c) {
      for (std::int64_t j = 0; j < w; ++j)
        for (std::int64_t p = 0; p < c; ++p)
          to[at + j * c + p] =
              T(0.25) * ((from[top + 2 * j * c + p] + from[top + (2 * j + 1) * c + p]) +
                         (from[bottom + 2 * j * c + p] + from[bottom + (2 * j + 1) * c + p]));
    });
    return record("avg_pool2x", y, {x}, [=](const Tensor& dy) {
      Tensor dx = Tensor::zeros(large, dy.dtype());
      const T* g = dy.data<T>();
      T* d = dx.data<T>();
      for_each_row_pair(small, large, [=](auto at, auto top, auto bottom, auto w, auto c) {
        for (std::int64_t j = 0; j < w; ++j)
          for (std::int64_t p = 0; p < c; ++p) {
            const T v = T(0.25) * g[at + j * c + p];
            d[top + 2 * j * c + p] = d[top + (2 * j + 1) * c + p] = v;
            d[bottom + 2 * j * c + p] = d[bottom + (2 * j + 1) * c + p] = v;
          }
      });
      return Gradients{dx};
    });
  });
}

}  // namespace sfumato
