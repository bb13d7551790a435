// Convolution and resampling of images [N, H, W, C].
#include <fmt/format.h>

#include "autograd/fixed_weights.h"
#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"
#include "tensor/parallel.h"

namespace sfumato {

namespace {

// The extents of a convolution; throws Error unless everything fits together.
kernels::Conv conv_of(const Var& x, const Var& weight, const Var& bias, const Conv2dOptions& o,
                      const ConvFusion& fused) {
  const char* op = "conv2d";
  expect_rank(op, "input", x.value(), 4);
  expect_rank(op, "weight", weight.value(), 4);
  kernels::Conv s{};
  const std::int64_t scale = o.upsample ? 2 : 1;
  s.n = x.dim(0), s.h = scale * x.dim(1), s.w = scale * x.dim(2);
  s.c = weight.dim(1), s.k = weight.dim(0), s.kh = weight.dim(2), s.kw = weight.dim(3);
  s.stride = o.stride, s.pad_top = o.pad_top, s.pad_left = o.pad_left;
  std::int64_t channels = x.dim(3);
  if (fused.skip.defined()) {
    expect_rank(op, "skip", fused.skip.value(), 4);
    expect_shape(op, "skip", fused.skip.value(), x.shape().with(-1, fused.skip.dim(3)));
    expect_dtype(op, "skip", fused.skip.value(), x.dtype());
    channels += fused.skip.dim(3);
  }
  if (channels != s.c)
    throw Error(op, fmt::format("input {} has {} channels, weight {} expects {}", x.shape().str(),
                                channels, weight.shape().str(), s.c));
  const std::int64_t room_h = s.h + o.pad_top + o.pad_bottom - s.kh;
  const std::int64_t room_w = s.w + o.pad_left + o.pad_right - s.kw;
  if (s.stride < 1 || room_h < 0 || room_w < 0)
    throw Error(op, fmt::format("input {} is smaller than kernel {}x{} (stride {})",
                                x.shape().str(), s.kh, s.kw, s.stride));
  s.oh = room_h / s.stride + 1;
  s.ow = room_w / s.stride + 1;
  const auto expect = [&](const char* what, const Var& v, const Shape& shape) {
    if (!v.defined()) return;
    expect_shape(op, what, v.value(), shape);
    expect_dtype(op, what, v.value(), x.dtype());
  };
  expect_dtype(op, "weight", weight.value(), x.dtype());
  expect("bias", bias, {s.k});
  expect("per_image", fused.per_image, {s.n, s.k});
  expect("residual", fused.residual, {s.n, s.oh, s.ow, s.k});
  if (fused.norm) {
    expect("gamma", fused.norm->gamma, {s.c});
    expect("beta", fused.norm->beta, {s.c});
    expect_groups(op, s.c, fused.norm->groups);
  }
  return s;
}

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

// The tensors that a convolution reads, and the statistics of their normalisation.
struct ConvRead {
  Tensor x, skip;
  bool upsample;
  std::int64_t groups = 0;  // 0: no normalisation
  double eps = 0;
  Tensor gamma = {}, beta = {}, mean = {}, rstd = {};

  template <class T>
  kernels::ConvInput<T> input() {
    kernels::ConvInput<T> in{.x = x.data<T>(), .upsample = upsample};
    if (groups > 0) {
      in.groups = groups, in.eps = eps, in.silu = true;
      in.gamma = gamma.data<T>(), in.beta = beta.data<T>();
      in.mean = mean.data<T>(), in.rstd = rstd.data<T>();
    }
    if (skip.defined()) in.skip = skip.data<T>(), in.skip_channels = skip.dim(3);
    return in;
  }
};

ConvRead read_through(const Var& x, const Conv2dOptions& options, const ConvFusion& fused) {
  ConvRead r{.x = x.value(), .skip = fused.skip.value(), .upsample = options.upsample};
  if (!fused.norm) return r;
  r.groups = fused.norm->groups, r.eps = fused.norm->eps;
  r.gamma = fused.norm->gamma.value(), r.beta = fused.norm->beta.value();
  r.mean = Tensor({x.dim(0), r.groups}, x.dtype());
  r.rstd = Tensor({x.dim(0), r.groups}, x.dtype());
  return r;
}

// The weights as the forward pass wants them (conv_filters); undefined if it uses them as they are.
template <class T>
Tensor filters(const kernels::Conv& s, bool upsample, const Var& weight) {
  const std::int64_t size = kernels::table<T>().conv_filters_size(s, upsample);
  if (size == 0) return {};
  return FixedWeights::once(weight, upsample ? 1 : 0, [&] {
    Tensor made({size}, weight.dtype());
    kernels::table<T>().conv_filters(s, upsample, weight.value().data<T>(), made.data<T>());
    return made;
  });
}

// conv2d's inputs, in the order in which it records them.
enum Input { kX, kWeight, kBias, kGamma, kBeta, kPerImage, kResidual, kSkip, kInputs };

// The pullback of conv2d.
template <class T>
Gradients conv_gradients(const kernels::Conv& s, ConvRead& in, const Tensor& w, const Tensor& dy,
                         const Needs& needs) {
  Gradients g(kInputs);
  const auto fresh = [&](Input i, const Shape& shape) {
    g[i] = Tensor(shape, dy.dtype());
    return g[i].template data<T>();
  };
  // Where the gradient of image i goes: added to what was delivered already, if anything.
  const auto image = [&](Input i, const Tensor& of, const T*& add) {
    g[i] = needs.take(i);
    if (!g[i].defined()) return fresh(i, of.shape());
    T* const delivered = g[i].template data<T>();
    add = delivered;
    return delivered;
  };
  kernels::ConvGradients<T> to;
  if (needs[kX] || needs[kGamma] || needs[kBeta] || needs[kSkip]) {
    to.dx = image(kX, in.x, to.add);
    if (in.skip.defined()) to.dskip = image(kSkip, in.skip, to.add_skip);
    if (in.groups > 0) to.dgamma = fresh(kGamma, {s.c}), to.dbeta = fresh(kBeta, {s.c});
  }
  if (needs[kWeight] || needs[kBias]) to.dw = fresh(kWeight, w.shape());
  if (needs[kBias]) to.db = fresh(kBias, {s.k});
  if (needs[kPerImage]) to.per_image = fresh(kPerImage, {s.n, s.k});
  kernels::table<T>().conv_backward(s, in.input<T>(), dy.data<T>(), w.data<T>(), to);
  if (needs[kResidual]) g[kResidual] = dy;
  return g;
}

}  // namespace

// With u = x, or concat(x, skip), or silu(group_norm()) of these, its pixels doubled or not:
// y[b,i,j,o] = Σ_{u,v,p} u[b, i·s + u - top, j·s + v - left, p] w[o,p,u,v]
//              + bias[o] + per_image[b,o] + residual[b,i,j,o]
// du: every output hands its gradient back to the inputs it saw, through the same weights.
// dw[o,p,u,v] = Σ_{b,i,j} dy[b,i,j,o] u[b, i·s + u - top, j·s + v - left, p]
// Of the summands: dy, summed over the axes along which they were repeated.
Var conv2d(const Var& x, const Var& weight, const Var& bias, const Conv2dOptions& options,
           const ConvFusion& fused) {
  const kernels::Conv s = conv_of(x, weight, bias, options, fused);
  const Tensor w = weight.value();
  return dispatch_float("conv2d", x.dtype(), [&]<class T>() {
    ConvRead in = read_through(x, options, fused);
    Tensor y({s.n, s.oh, s.ow, s.k}, x.dtype());
    kernels::table<T>().conv_forward(s, in.input<T>(), w.data<T>(),
                                     {.y = y.data<T>(),
                                      .bias = data_or_null<T>(bias.value()),
                                      .per_image = data_or_null<T>(fused.per_image.value()),
                                      .residual = data_or_null<T>(fused.residual.value())},
                                     data_or_null<T>(filters<T>(s, options.upsample, weight)));
    const Var gamma = fused.norm ? fused.norm->gamma : Var();
    const Var beta = fused.norm ? fused.norm->beta : Var();
    const double flop = 2 * static_cast<double>(y.size()) * static_cast<double>(s.c * s.kh * s.kw);
    return record("conv2d", y,
                  {x, weight, bias, gamma, beta, fused.per_image, fused.residual, fused.skip}, flop,
                  [=](const Tensor& dy, const Needs& needs) mutable {
                    return conv_gradients<T>(s, in, w, dy, needs);
                  });
  });
}

namespace {

// body(row of `small` [N,H,W,C], two rows of `large` [N,2H(+1),2W(+1),C] that it covers, ...), as offsets.
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
    return record("upsample_nearest2x", y, {x}, kNoProducts, [=](const Tensor& dy) {
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
    return record("avg_pool2x", y, {x}, kNoProducts, [=](const Tensor& dy) {
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
