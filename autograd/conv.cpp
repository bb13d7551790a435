// Convolution and resampling of images [N, H, W, C].
#include <fmt/format.h>

#include <array>
#include <optional>

#include "autograd/fixed_weights.h"
#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {

namespace {

// The extents of a convolution; throws Error unless everything fits together.
kernels::Conv conv_of(const Var& x, const Var& weight, const Var& bias, const Conv2dOptions& o,
                      const ConvFusion& fused) {
  const char* op = "conv2d";
  expect_rank(op, "input", x.value(), 4);
  const bool is_matrix = weight.shape().rank() == 2;
  if (!is_matrix) expect_rank(op, "weight", weight.value(), 4);
  kernels::Conv s{};
  const std::int64_t scale = o.upsample ? 2 : 1;
  s.n = x.dim(0), s.h = scale * x.dim(1), s.w = scale * x.dim(2);
  s.c = weight.dim(1), s.k = weight.dim(0);
  s.kh = is_matrix ? 1 : weight.dim(2), s.kw = is_matrix ? 1 : weight.dim(3);
  s.stride = o.stride, s.pad_top = o.pad_top, s.pad_left = o.pad_left;
  std::int64_t channels = x.dim(3);
  if (fused.skip.defined()) {
    expect_rank(op, "skip", fused.skip.value(), 4);
    expect_shape(op, "skip", fused.skip.value(), x.shape().with(-1, fused.skip.dim(3)));
    expect_kind(op, "skip", fused.skip.value(), x.kind());
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
  const auto expect = [&](const char* what, const Var& v, const Shape& shape, Kind kind) {
    if (!v.defined()) return;
    expect_shape(op, what, v.value(), shape);
    expect_kind(op, what, v.value(), kind);
  };
  const Kind exact = wide(x.kind());
  expect_kind(op, "weight", weight.value(), x.kind());
  expect("bias", bias, {s.k}, exact);
  expect("per_image", fused.per_image, {s.n, s.k}, exact);
  expect("residual", fused.residual, {s.n, s.oh, s.ow, s.k}, x.kind());
  if (fused.norm) {
    expect("gamma", fused.norm->gamma, {s.c}, exact);
    expect("beta", fused.norm->beta, {s.c}, exact);
    expect_groups(op, s.c, fused.norm->groups);
  }
  return s;
}

// The tensors that a convolution reads, and the statistics of their normalisation.
struct ConvRead {
  Tensor x = {}, skip = {};
  bool upsample = false;
  std::int64_t groups = 0;  // 0: no normalisation
  double eps = 0;
  bool silu = false;
  Tensor gamma = {}, beta = {}, mean = {}, rstd = {};

  template <class T>
  kernels::ConvInput<T> input() {
    kernels::ConvInput<T> in{.x = x.data<T>(), .upsample = upsample};
    if (groups > 0) {
      in.groups = groups, in.eps = eps, in.silu = silu;
      in.gamma = gamma.data<Wide<T>>(), in.beta = beta.data<Wide<T>>();
      in.mean = mean.data<Wide<T>>(), in.rstd = rstd.data<Wide<T>>();
    }
    if (skip.defined()) in.skip = skip.data<T>(), in.skip_channels = skip.dim(3);
    return in;
  }
};

ConvRead read_through(const Var& x, const Conv2dOptions& options, const ConvFusion& fused) {
  ConvRead r{.x = x.value(), .skip = fused.skip.value(), .upsample = options.upsample};
  if (!fused.norm) return r;
  r.groups = fused.norm->groups, r.eps = fused.norm->eps, r.silu = fused.norm->silu;
  r.gamma = fused.norm->gamma.value(), r.beta = fused.norm->beta.value();
  r.mean = Tensor({x.dim(0), r.groups}, wide(x.kind()));
  r.rstd = Tensor({x.dim(0), r.groups}, wide(x.kind()));
  return r;
}

// The weights as the forward pass wants them (conv_filters); undefined if it uses them as they are.
template <class T>
Tensor filters(const kernels::Conv& s, bool upsample, const Var& weight) {
  const std::int64_t size = kernels::on<T>(weight.value().device()).conv_filters_size(s, upsample);
  if (size == 0) return {};
  return FixedWeights::once(weight, upsample ? 1 : 0, [&] {
    Tensor made({size}, weight.kind());
    kernels::on<T>(weight.value().device())
        .conv_filters(s, upsample, weight.value().data<T>(), made.data<T>());
    return made;
  });
}

// conv2d's inputs, in the order in which it records them.
enum Input {
  kX,
  kWeight,
  kBias,
  kGamma,
  kBeta,
  kPerImage,
  kResidual,
  kSkip,
  kShortcutX,
  kShortcutSkip,
  kShortcutWeight,
  kShortcutBias,
  kInputs
};

// A shortcut, as its convolution; undefined without one.
struct Shortcut {
  kernels::Conv conv = {};
  ConvRead read = {};
  Tensor w = {}, bias = {};

  Shortcut(const kernels::Conv& s, Kind kind, const std::optional<ConvShortcut>& given) {
    if (!given) return;
    expect_kind("conv2d", "shortcut", given->x.value(), kind);
    conv = conv_of(given->x, given->weight, given->bias, {}, {.skip = given->skip});
    if (conv.kh != 1 || conv.kw != 1 || conv.n != s.n || conv.oh != s.oh || conv.ow != s.ow ||
        conv.k != s.k)
      throw Error("conv2d", fmt::format("shortcut of {} by {} does not fit output [{}, {}, {}, {}]",
                                        given->x.shape().str(), given->weight.shape().str(), s.n,
                                        s.oh, s.ow, s.k));
    read = {.x = given->x.value(), .skip = given->skip.value(), .upsample = false};
    w = given->weight.value(), bias = given->bias.value();
  }
  bool defined() const { return w.defined(); }
  template <class T>
  kernels::ConvShortcut<T> kernel() {
    return {.conv = conv,
            .in = read.input<T>(),
            .w = w.data<T>(),
            .bias = bias.data_or_null<Wide<T>>()};
  }
};

// The pullback of conv2d.
template <class T>
class ConvPullback {
 public:
  ConvPullback(const kernels::Conv& s, const ConvRead& in, const Tensor& w,
               const Shortcut& shortcut)
      : s_(s), in_(in), w_(w), shortcut_(shortcut) {}

  Gradients operator()(const Tensor& dy, const Needs& needs) {
    Gradients g(kInputs);
    Places places{g, needs, dy.device()};
    kernels::ConvGradients<T> to, of_shortcut;
    if (needs[kX] || needs[kGamma] || needs[kBeta] || needs[kSkip]) {
      places.images(to, {kX, kSkip}, in_);
      if (in_.groups > 0) places.of(to.dgamma, kGamma, {s_.c}), places.of(to.dbeta, kBeta, {s_.c});
    }
    if (needs[kWeight] || needs[kBias]) places.of(to.dw, kWeight, w_.shape());
    if (needs[kBias]) places.of(to.db, kBias, {s_.k});
    if (needs[kPerImage]) places.of(to.per_image, kPerImage, {s_.n, s_.k});
    kernels::ConvShortcut<T> shortcut;
    if (shortcut_.defined()) {
      if (needs[kShortcutX] || needs[kShortcutSkip])
        places.images(of_shortcut, {kShortcutX, kShortcutSkip}, shortcut_.read);
      if (needs[kShortcutWeight] || needs[kShortcutBias])
        places.of(of_shortcut.dw, kShortcutWeight, shortcut_.w.shape());
      if (needs[kShortcutBias]) places.of(of_shortcut.db, kShortcutBias, {s_.k});
      shortcut = shortcut_.kernel<T>();
      to.shortcut = &shortcut, to.of_shortcut = &of_shortcut;
    }
    kernels::on<T>(dy.device()).conv_backward(s_, in_.input<T>(), dy.data<T>(), w_.data<T>(), to);
    if (needs[kResidual]) g[kResidual] = dy;
    return g;
  }

 private:
  struct Places {
    Gradients& g;
    const Needs& needs;
    Device device;

    // Where the gradient of input i is written, needed or not: the kernel computes some of them together.
    template <class G>
    void of(G*& to, Input i, const Shape& shape) {
      g[i] = needs[i] ? needs.room(i, dtype_of<G>()) : Tensor(shape, {dtype_of<G>(), device});
      to = g[i].template data<G>();
    }
    // Where the gradients of both arrays of an image go: added to what was delivered already, if anything.
    void images(kernels::ConvGradients<T>& to, std::array<Input, 2> inputs, const ConvRead& in) {
      image(to.dx, to.add, inputs[0], in.x);
      if (in.skip.defined()) image(to.dskip, to.add_skip, inputs[1], in.skip);
    }
    void image(T*& to, const T*& add, Input i, const Tensor& x) {
      g[i] = needs.take(i, dtype_of<T>());
      if (!g[i].defined()) return of(to, i, x.shape());
      add = to = g[i].template data<T>();
    }
  };

  kernels::Conv s_;
  ConvRead in_;
  Tensor w_;
  Shortcut shortcut_;
};

}  // namespace

// With e, the effective input: x, or concat(x, skip), or group_norm() or silu(group_norm()) of these, its pixels doubled or not:
// y[b,i,j,o] = Σ_{u,v,p} e[b, i·s + u - top, j·s + v - left, p] w[o,p,u,v]
//              + bias[o] + per_image[b,o] + residual[b,i,j,o]
// de: every output hands its gradient back to the inputs it saw, through the same weights.
// dw[o,p,u,v] = Σ_{b,i,j} dy[b,i,j,o] e[b, i·s + u - top, j·s + v - left, p]
// Of the summands: dy, summed over the axes along which they were repeated. A shortcut is such a sum, too.
Var conv2d(const Var& x, const Var& weight, const Var& bias, const Conv2dOptions& options,
           const ConvFusion& fused) {
  const kernels::Conv s = conv_of(x, weight, bias, options, fused);
  Shortcut shortcut(s, x.kind(), fused.shortcut);
  if (shortcut.defined() && fused.residual.defined())
    throw Error("conv2d", "expected a residual or a shortcut, got both");
  const Tensor w = weight.value();
  return dispatch_float("conv2d", x.kind(), [&]<class T>() {
    ConvRead in = read_through(x, options, fused);
    const Tensor prepared = filters<T>(s, options.upsample, weight);
    Tensor y({s.n, s.oh, s.ow, s.k}, x.kind());
    kernels::ConvShortcut<T> added;
    if (shortcut.defined()) added = shortcut.kernel<T>();
    kernels::on<T>(y.device())
        .conv_forward(s, in.input<T>(), w.data<T>(),
                      {.y = y.data<T>(),
                       .bias = bias.value().data_or_null<Wide<T>>(),
                       .per_image = fused.per_image.value().data_or_null<Wide<T>>(),
                       .residual = fused.residual.value().data_or_null<T>(),
                       .shortcut = shortcut.defined() ? &added : nullptr},
                      prepared.data_or_null<T>());
    const Var gamma = fused.norm ? fused.norm->gamma : Var();
    const Var beta = fused.norm ? fused.norm->beta : Var();
    const auto terms = static_cast<double>(s.c * s.kh * s.kw + shortcut.conv.c);
    const ConvShortcut other = fused.shortcut.value_or(ConvShortcut{});
    return record("conv2d", y,
                  {x, weight, bias, gamma, beta, fused.per_image, fused.residual, fused.skip,
                   other.x, other.skip, other.weight, other.bias},
                  2 * static_cast<double>(y.size()) * terms, ConvPullback<T>(s, in, w, shortcut));
  });
}

}  // namespace sfumato
