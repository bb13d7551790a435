// The layers. Each is a plain struct: parameters, sizes, and a call operator that says what it
// maps. Parameter names are those of PyTorch and diffusers, so that checkpoints go both ways.
// Running a layer is const, and several threads may do it at once; const does not protect the elements of its Params.
// A layer of your own needs only params.h from this folder; examples/new_layer also uses Linear and Conv2d.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "autograd/ops.h"
#include "nn/params.h"

namespace sfumato::nn {

// How a forward pass is run. `training` switches dropout on; its masks depend on (seed, step), where step is an i64 []
// on the device of the network's inputs. `recompute`: the backward pass recomputes the insides of blocks, which are not
// kept.
struct Mode {
  bool training = false;
  std::uint64_t seed = 0;
  Tensor step = {};  // undefined: 0
  bool recompute = false;
};

// y = x Wᵀ + b: [..., in] -> [..., out]
struct Linear {
  Param weight, bias;  // [out, in], [out]
  Linear(const Scope& s, std::int64_t in, std::int64_t out);
  Linear(const Scope& s, std::int64_t in, std::int64_t out, const Init& weight, const Init& bias);
  Var operator()(const Var& x, const LinearFusion& fused = {}) const {
    return linear(x, weight, bias, fused);
  }
};

// Linear layers that read the same x, as one product. They are not called by themselves.
struct JoinedLinear {
  JoinedParam weight, bias;
  std::vector<std::int64_t> widths;  // the `out` of each
  JoinedLinear(const Scope& s, std::span<const Linear* const> layers);
  // -> [..., out] of each
  Vars operator()(const Var& x, const LinearFusion& fused = {}) const {
    return split_last(linear(x, weight, bias, fused), widths);
  }
};

// [N,H,W,in] -> [N,OH,OW,out]
struct Conv2d {
  Param weight, bias;  // [out, in, kernel, kernel], [out]
  Conv2dOptions options;
  Conv2d(const Scope& s, std::int64_t in, std::int64_t out, std::int64_t kernel,
         const Conv2dOptions& options);
  Var operator()(const Var& x, const ConvFusion& fused = {}) const {
    return conv2d(x, weight, bias, options, fused);
  }
};

// [N,...,C] -> [N,...,C]: normalises each group of channels of an image to mean 0 and variance 1, then scales by γ and
// adds β; optionally SiLU in the same pass.
struct GroupNorm {
  Param weight, bias;  // γ [C], β [C]
  std::int64_t groups;
  double eps;
  GroupNorm(const Scope& s, std::int64_t channels, std::int64_t groups, double eps);
  Var operator()(const Var& x) const { return group_norm(x, weight, bias, groups, eps); }
  Var then_silu(const Var& x) const { return group_norm(x, weight, bias, groups, eps, true); }
  // Each fused into the convolution that reads the result.
  InputNorm with_silu() const { return {weight, bias, groups, eps, true}; }
  InputNorm without_silu() const { return {weight, bias, groups, eps, false}; }
};

// [...,C] -> [...,C]: mean 0 and variance 1 over the channels, then γ and β unless `affine` is false.
struct LayerNorm {
  std::optional<Param> weight, bias;  // γ [C], β [C]
  double eps;
  LayerNorm(const Scope& s, std::int64_t channels, double eps = 1e-5, bool affine = true);
  Var operator()(const Var& x) const;
};

// i64 [N] -> [N,width]
struct Embedding {
  Param weight;  // [rows, width]
  Embedding(const Scope& s, std::int64_t rows, std::int64_t width, double deviation = 1);
  Var operator()(const Tensor& index) const { return embedding(weight, index); }
};

// Identity unless training.
struct Dropout {
  double p;
  int id;  // tells the dropout layers of one network apart
  Dropout(const Scope& s, double p) : p(p), id(s.params().next_dropout_id()) {}
  bool active(const Mode& mode) const { return mode.training && p > 0; }
  Var operator()(const Var& x, const Mode& mode) const;
};

// Self-attention over the pixels of an image with its own normalisation and a residual around it:
// [N,H,W,C] -> [N,H,W,C]
struct AttentionBlock {
  struct Options {
    std::int64_t channels, head_dim;
    std::optional<std::int64_t> norm_groups;  // none: no normalisation
    double eps = 1e-5, output_scale = 1;
  };
  std::optional<GroupNorm> group_norm;
  Linear to_q, to_k, to_v, to_out;
  JoinedLinear to_qkv;
  std::int64_t heads;
  double output_scale;
  AttentionBlock(const Scope& s, const Options& options);
  Var operator()(const Var& x) const;
};

// The residual block of DDPM (Ho 2020, appendix B): x [N,H,W,in], t -> [N,H,W,out]. It is conditioned on an embedding temb
// [N,temb] of the timestep by t = time_emb_proj(silu(temb)) [N,out], or [N,2 out] with scale_shift: the caller computes
// those of all blocks as one product (JoinedLinear). t is as exact as the parameters are kept (nn/precision.h).
struct ResnetBlock {
  struct Options {
    std::int64_t in, out, temb, groups;
    double eps = 1e-5, dropout = 0, output_scale = 1;
    bool scale_shift = false;  // t scales and shifts the second norm instead of being added
  };
  GroupNorm norm1;
  Conv2d conv1;
  Linear time_emb_proj;
  GroupNorm norm2;
  Dropout dropout;
  Conv2d conv2;
  std::optional<Conv2d> conv_shortcut;  // 1x1, where in != out
  bool scale_shift;
  double output_scale;
  ResnetBlock(const Scope& s, const Options& options);
  // `skip`: the skip connection. If it is defined, the block reads the channels of x, then those of `skip`, as if
  // they were concatenated; together they are the `in` channels.
  Var operator()(const Var& x, const Var& t, const Mode& mode, const Var& skip = {}) const;
};

// [N,H,W,C] -> [N,H/2,W/2,C] by a 3x3 convolution of stride 2. padding 0 pads one row and column
// below and to the right, as TensorFlow did.
struct Downsample {
  Conv2d conv;
  Downsample(const Scope& s, std::int64_t channels, std::int64_t padding);
  Var operator()(const Var& x) const { return conv(x); }
};

// [N,H,W,C] -> [N,2H,2W,C]: nearest neighbour, then a 3x3 convolution.
struct Upsample {
  Conv2d conv;
  Upsample(const Scope& s, std::int64_t channels);
  Var operator()(const Var& x) const { return conv(x); }
};

// Sinusoidal features of t [N] -> [N,width] (Vaswani 2017, section 3.5; DDPM appendix B):
// sin(t ω_i), cos(t ω_i) with ω_i = 10000^(-i / (width/2 - freq_shift)); the two halves swap with
// flip_sin_to_cos; a column of zeros closes an odd width. t is f32/f64 or i64; the result is
// `dtype`.
Tensor sinusoidal_embedding(const Tensor& t, std::int64_t width, bool flip_sin_to_cos,
                            double freq_shift, DType dtype = DType::f32);

// Sinusoidal features of the places of a picture of height x width tokens -> [height * width, channels]: the first half of
// the channels tells the column, the second the row, each as sinusoidal_embedding (He 2022, "Masked autoencoders", appendix;
// DiT). Places count from 0 to `base` in either direction, however many tokens there are. Channels: a multiple of 4.
struct Grid {
  std::int64_t height, width;
  double base;
};
Tensor sincos_positions(const Grid& grid, std::int64_t channels, Kind kind);

// Two linear layers with SiLU between: [N,in] -> [N,out]
struct TimestepEmbedding {
  Linear linear_1, linear_2;
  TimestepEmbedding(const Scope& s, std::int64_t in, std::int64_t out);
  // Weights from N(0, deviation²), biases 0.
  TimestepEmbedding(const Scope& s, std::int64_t in, std::int64_t out, double deviation);
  Var operator()(const Var& features) const { return linear_2(linear_1(features), {.silu = true}); }
};

}  // namespace sfumato::nn
