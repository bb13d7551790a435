#include "nn/layers.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "tensor/for_each.h"

namespace sfumato::nn {

Linear::Linear(const Scope& s, std::int64_t in, std::int64_t out)
    : Linear(s, in, out, uniform_fan_in(in), uniform_fan_in(in)) {}

Linear::Linear(const Scope& s, std::int64_t in, std::int64_t out, const Init& weight,
               const Init& bias)
    : weight(s.param("weight", {out, in}, weight)), bias(s.param("bias", {out}, bias)) {}

namespace {

JoinedParam join(const Scope& s, std::span<const Linear* const> layers, Param Linear::*which) {
  std::vector<Param> parts;
  for (const Linear* layer : layers) parts.push_back(layer->*which);
  return s.params().join(parts);
}

}  // namespace

JoinedLinear::JoinedLinear(const Scope& s, std::span<const Linear* const> layers)
    : weight(join(s, layers, &Linear::weight)), bias(join(s, layers, &Linear::bias)) {
  for (const Linear* layer : layers) widths.push_back(layer->bias.shape()[0]);
}

Conv2d::Conv2d(const Scope& s, std::int64_t in, std::int64_t out, std::int64_t kernel,
               const Conv2dOptions& options)
    : weight(s.param("weight", {out, in, kernel, kernel}, uniform_fan_in(in * kernel * kernel))),
      bias(s.param("bias", {out}, uniform_fan_in(in * kernel * kernel))),
      options(options) {}

GroupNorm::GroupNorm(const Scope& s, std::int64_t channels, std::int64_t groups, double eps)
    : weight(s.param("weight", {channels}, ones())),
      bias(s.param("bias", {channels}, zeros())),
      groups(groups),
      eps(eps) {
  expect_groups("group_norm", channels, groups);
}

LayerNorm::LayerNorm(const Scope& s, std::int64_t channels, double eps, bool affine) : eps(eps) {
  if (!affine) return;
  weight = s.param("weight", {channels}, ones());
  bias = s.param("bias", {channels}, zeros());
}

Var LayerNorm::operator()(const Var& x) const {
  return layer_norm(x, weight ? weight->var() : Var(), bias ? bias->var() : Var(), eps);
}

Embedding::Embedding(const Scope& s, std::int64_t rows, std::int64_t width, double deviation)
    : weight(s.param("weight", {rows, width}, normal(deviation))) {}

namespace {
constexpr int kLaneBits = 12;  // of a stream's number: the layer; above: the step
}  // namespace

Var Dropout::operator()(const Var& x, const Mode& mode) const {
  if (!active(mode)) return x;
  const auto lane = static_cast<std::uint64_t>(id);
  return dropout(x, p,
                 mode.step.defined() ? Rng(mode.seed, Purpose::dropout, mode.step, lane, kLaneBits)
                                     : Rng(mode.seed, Purpose::dropout, lane));
}

namespace {

// Heads that do not fill the channels are allowed, as in diffusers: 10 channels with head_dim 4 are
// two heads, and the projections go 10 -> 8 -> 10.
std::int64_t heads_of(const AttentionBlock::Options& o) {
  if (o.head_dim < 1 || o.head_dim > o.channels)
    throw Error("attention", fmt::format("attention_head_dim {} does not fit into {} channels",
                                         o.head_dim, o.channels));
  return o.channels / o.head_dim;
}

}  // namespace

AttentionBlock::AttentionBlock(const Scope& s, const Options& o)
    : to_q(s / "to_q", o.channels, heads_of(o) * o.head_dim),
      to_k(s / "to_k", o.channels, heads_of(o) * o.head_dim),
      to_v(s / "to_v", o.channels, heads_of(o) * o.head_dim),
      to_out(s / "to_out" / "0", heads_of(o) * o.head_dim, o.channels),
      to_qkv(s, std::array{&to_q, &to_k, &to_v}),
      heads(heads_of(o)),
      output_scale(o.output_scale) {
  if (o.norm_groups) group_norm.emplace(s / "group_norm", o.channels, *o.norm_groups, o.eps);
}

Var AttentionBlock::operator()(const Var& x) const {
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  ConvFusion fused;
  if (group_norm) fused.norm = group_norm->without_silu();
  const Var qkv = conv2d(x, to_qkv.weight, to_qkv.bias, {}, fused);       // [N, H, W, 3 heads d]
  const Var mixed = self_attention(reshape(qkv, {n, h * w, -1}), heads);  // [N, T, heads d]
  const Var y = reshape(to_out(mixed, {.residual = reshape(x, {n, h * w, c})}), {n, h, w, c});
  return output_scale == 1 ? y : y * (1 / output_scale);
}

ResnetBlock::ResnetBlock(const Scope& s, const Options& o)
    : norm1(s / "norm1", o.in, o.groups, o.eps),
      conv1(s / "conv1", o.in, o.out, 3, Conv2dOptions::padded(1)),
      time_emb_proj(s.exact() / "time_emb_proj", o.temb, o.scale_shift ? 2 * o.out : o.out),
      norm2(s / "norm2", o.out, o.groups, o.eps),
      dropout(s, o.dropout),
      conv2(s / "conv2", o.out, o.out, 3, Conv2dOptions::padded(1)),
      scale_shift(o.scale_shift),
      output_scale(o.output_scale) {
  if (o.in != o.out) conv_shortcut.emplace(s / "conv_shortcut", o.in, o.out, 1, Conv2dOptions{});
}

Var ResnetBlock::operator()(const Var& x, const Var& t, const Mode& mode, const Var& skip) const {
  if (skip.defined() && !conv_shortcut) return (*this)(concat(x, skip), t, mode);
  Var h = conv1(x, {.norm = norm1.with_silu(), .per_image = scale_shift ? Var() : t, .skip = skip});
  ConvFusion out;  // what the second convolution adds
  if (conv_shortcut)
    out.shortcut = ConvShortcut{x, skip, conv_shortcut->weight, conv_shortcut->bias};
  else
    out.residual = x;
  if (scale_shift) {
    const std::int64_t n = h.dim(0), c = h.dim(3);
    const Vars told = split_last(t, std::array{c, c});
    const Var scale = reshape(told[0], {n, 1, 1, c}) + 1.0, shift = reshape(told[1], {n, 1, 1, c});
    h = silu(norm2(h) * cast(scale, h.dtype()) + cast(shift, h.dtype()));
    h = dropout(h, mode);
  } else if (dropout.active(mode)) {
    h = dropout(norm2.then_silu(h), mode);
  } else {
    out.norm = norm2.with_silu();
  }
  const Var y = conv2(h, out);
  return output_scale == 1 ? y : y * (1 / output_scale);
}

Downsample::Downsample(const Scope& s, std::int64_t channels, std::int64_t padding)
    : conv(s / "conv", channels, channels, 3,
           padding == 0 ? Conv2dOptions{.stride = 2, .pad_bottom = 1, .pad_right = 1}
                        : Conv2dOptions::padded(padding, 2)) {}

Upsample::Upsample(const Scope& s, std::int64_t channels)
    : conv(s / "conv", channels, channels, 3,
           {.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .upsample = true}) {}

namespace {

// Frequency k of all times. Rounded to float32 after each operation, as PyTorch does it: at t = 1000 another order of
// rounding moves single features by 5e-5, which a trained network notices.
template <class Time>
struct Sinusoids {
  std::int64_t width;
  float minus_log_10000, spacing;
  const Time* t;
  float *sines, *cosines;  // of row 0

  struct Times {
    Sinusoids s;
    std::int64_t k;
    float omega;
    constexpr void operator()(std::int64_t n) const {
      const float angle = static_cast<float>(s.t[n]) * omega;
      s.sines[n * s.width + k] = static_cast<float>(std::sin(static_cast<double>(angle)));
      s.cosines[n * s.width + k] = static_cast<float>(std::cos(static_cast<double>(angle)));
    }
  };
  constexpr Times operator()(std::int64_t k) const {
    const float exponent = minus_log_10000 * static_cast<float>(k) / spacing;
    return {*this, k, static_cast<float>(std::exp(static_cast<double>(exponent)))};
  }
};

}  // namespace

Tensor sinusoidal_embedding(const Tensor& t, std::int64_t width, bool flip_sin_to_cos,
                            double freq_shift, DType dtype) {
  expect_rank("sinusoidal_embedding", "t", t, 1);
  const std::int64_t n = t.dim(0), half = width / 2;
  const Kind kind{DType::f32, t.device()};
  Tensor features = width % 2 == 0 ? Tensor({n, width}, kind) : Tensor::zeros({n, width}, kind);
  const auto fill = [&]<class Time>() {
    float* const first = features.data<float>();
    for_each_row(
        kind.device, half, n,
        Sinusoids<Time>{.width = width,
                        .minus_log_10000 = static_cast<float>(-std::log(10000.0)),
                        .spacing = static_cast<float>(static_cast<double>(half) - freq_shift),
                        .t = t.data<Time>(),
                        .sines = first + (flip_sin_to_cos ? half : 0),
                        .cosines = first + (flip_sin_to_cos ? 0 : half)});
  };
  if (t.dtype() == DType::i64)
    fill.template operator()<std::int64_t>();
  else
    dispatch_float("sinusoidal_embedding", t.dtype(), fill);
  return features.to(dtype);
}

namespace {

struct GridPlaces {
  float per_place;
  float* to;
  constexpr void operator()(std::int64_t i) const { to[i] = static_cast<float>(i) / per_place; }
};

// The places of `count` tokens in a row, as numbers below `base`.
Tensor grid_places(std::int64_t count, double base, Device device) {
  Tensor places({count}, {DType::f32, device});
  for_each(device, count,
           GridPlaces{static_cast<float>(static_cast<double>(count) / base), places.data<float>()});
  return places;
}

}  // namespace

Tensor sincos_positions(const Grid& grid, std::int64_t channels, Kind kind) {
  if (channels % 4 != 0)
    throw Error("sincos_positions",
                fmt::format("expected a multiple of 4 channels, got {}", channels));
  const std::int64_t h = grid.height, w = grid.width, half = channels / 2;
  const auto features = [&](std::int64_t count) {
    return Var(sinusoidal_embedding(grid_places(count, grid.base, kind.device), half, false, 0,
                                    kind.dtype));
  };
  const Var everywhere(Tensor::zeros({h, w, half}, kind));
  const Var columns = everywhere + reshape(features(w), {1, w, half});
  const Var rows = everywhere + reshape(features(h), {h, 1, half});
  return concat(columns, rows).value().reshape({h * w, channels});
}

TimestepEmbedding::TimestepEmbedding(const Scope& s, std::int64_t in, std::int64_t out)
    : linear_1(s / "linear_1", in, out), linear_2(s / "linear_2", out, out) {}

TimestepEmbedding::TimestepEmbedding(const Scope& s, std::int64_t in, std::int64_t out,
                                     double deviation)
    : linear_1(s / "linear_1", in, out, normal(deviation), zeros()),
      linear_2(s / "linear_2", out, out, normal(deviation), zeros()) {}

}  // namespace sfumato::nn
