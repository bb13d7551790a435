// The differentiable operations. Each throws Error, naming itself and the shapes, when its inputs
// do not fit. Images are [N, H, W, C]. Any thread may call any of them; inputs are not changed.
//
// To add one made of scalar math, see pointwise.h; made of others, just call them.
#pragma once
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "autograd/var.h"
#include "tensor/rng.h"

namespace sfumato {

using Vars = std::vector<Var, memory::Allocator<Var>>;

// ---- arithmetic.cpp: NumPy broadcasting
Var operator+(const Var& a, const Var& b);
Var operator-(const Var& a, const Var& b);
Var operator*(const Var& a, const Var& b);
Var operator/(const Var& a, const Var& b);
Var operator*(const Var& x, double factor);
Var operator+(const Var& x, double summand);
Var operator-(const Var& x);
Var square(const Var& x);
Var exp(const Var& x);
Var log(const Var& x);
Var sqrt(const Var& x);

// x in another floating-point type, its gradient in x's. Nothing else changes a type: the ends of a network that
// computes in bf16 say it (nn/precision.h).
Var cast(const Var& x, DType dtype);

// ---- activation.cpp
Var silu(const Var& x);
Var sigmoid(const Var& x);
Var tanh(const Var& x);
Var relu(const Var& x);
Var gelu(const Var& x);       // the exact one, with the error function
Var gelu_tanh(const Var& x);  // its approximation by tanh
// Softmax over the innermost axis.
Var softmax(const Var& x);

// ---- reduce.cpp
Var sum(const Var& x);   // -> []
Var mean(const Var& x);  // -> []
// Mean of (a - b)² over all elements -> []. Same shape.
Var mse(const Var& a, const Var& b);
// Σ over the axes that `shape` keeps at 1 or drops: the adjoint of broadcasting to x's shape.
Var sum_to(const Var& x, const Shape& shape);
// Mean negative log-likelihood of class labels i64 [N] under softmax(logits [N, K]) -> [].
Var cross_entropy(const Var& logits, const Tensor& labels);

// ---- shape_ops.cpp
Var reshape(const Var& x, std::initializer_list<std::int64_t> extents);
Var permute(const Var& x, std::initializer_list<int> order);
// [..., Ca], [..., Cb] -> [..., Ca + Cb]
Var concat(const Var& a, const Var& b);
// [a, ...], [b, ...], ... -> [a + b + ..., ...]
Var concat_rows(std::initializer_list<Var> parts);
// [..., a + b + ...] -> [..., a], [..., b], ... for widths a, b, ... that fill the innermost axis. Copies.
Vars split_last(const Var& x, std::span<const std::int64_t> widths);
// Channels [begin, end) of the innermost axis. Copies.
Var slice_last(const Var& x, std::int64_t begin, std::int64_t end);
// Rows table[index[i]] -> [n, d] for table [K, d], index i64 [n].
Var embedding(const Var& table, const Tensor& index);

// ---- linear.cpp
// [..., k] x [k, n] -> [..., n]
Var matmul(const Var& a, const Var& b);
// Operations fused into a linear layer.
struct LinearFusion {
  bool silu = false;  // x is read through silu(x)
  Var residual = {};  // [..., out], added
};
// x Wᵀ + b for x [..., in], W [out, in], b [out] or undefined -> [..., out]
Var linear(const Var& x, const Var& weight, const Var& bias, const LinearFusion& fused = {});

// ---- batched_matmul.cpp
// Of each i: [i, m, k] x [i, k, n] -> [i, m, n]. a [B, m, k], b [B, k, n]
Var bmm(const Var& a, const Var& b);

// ---- conv.cpp
struct Conv2dOptions {
  std::int64_t stride = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  bool upsample = false;  // read x through upsample_nearest2x
  static Conv2dOptions padded(std::int64_t padding, std::int64_t stride = 1) {
    return {stride, padding, padding, padding, padding};
  }
};
// Operations fused into a convolution. Their intermediate results are not stored; the backward pass
// recomputes them.
struct InputNorm {
  Var gamma, beta;  // [Cin]
  std::int64_t groups;
  double eps;
  bool silu = true;
};
struct ConvShortcut {  // a 1x1 convolution of concat(x, skip)
  Var x, skip;         // [N,OH,OW,C1], [N,OH,OW,C2] or undefined
  Var weight, bias;    // [Cout,C1+C2,1,1], [Cout]
};
struct ConvFusion {
  std::optional<InputNorm> norm =
      {};              // x is read through group_norm(x, ...), then SiLU if it says so
  Var per_image = {};  // [N, Cout], added to every pixel of an image
  Var residual = {};   // [N,OH,OW,Cout], added
  std::optional<ConvShortcut> shortcut = {};  // added, instead of a residual
  Var skip = {};  // [N,H,W,C2], a second input: x is read as concat(x, skip)
};
// x [N,H,W,Cin] (with `skip` the first Cin - C2 channels), weight [Cout,Cin,KH,KW] (PyTorch's
// layout; [Cout,Cin]: of 1x1), bias [Cout] or undefined
// -> [N,OH,OW,Cout]
Var conv2d(const Var& x, const Var& weight, const Var& bias, const Conv2dOptions& options,
           const ConvFusion& fused = {});

// ---- conv_transpose.cpp
struct ConvTranspose2dOptions {
  std::int64_t stride = 1, padding = 0;
  std::int64_t output_padding =
      0;  // rows and columns more, below and to the right; less than stride
};
// The adjoint of conv2d with this stride and padding: x [N,H,W,Cin], weight [Cin,Cout,KH,KW] (PyTorch's layout), bias
// [Cout] or undefined -> [N,OH,OW,Cout] with OH = (H - 1) stride - 2 padding + KH + output_padding
Var conv_transpose2d(const Var& x, const Var& weight, const Var& bias,
                     const ConvTranspose2dOptions& options);

// ---- pool.cpp: over kernel x kernel windows, `stride` pixels apart: [N,H,W,C] -> [N,OH,OW,C] with
// OH = ⌊(H - kernel) / stride⌋ + 1. Rows and columns that no window reaches are dropped.
Var avg_pool2d(const Var& x, std::int64_t kernel, std::int64_t stride);
// The first of equal largest numbers gets the gradient.
Var max_pool2d(const Var& x, std::int64_t kernel, std::int64_t stride);

// ---- resample.cpp
// Nearest neighbour: [N,H,W,C] -> [N,2H,2W,C]
Var upsample_nearest2x(const Var& x);
// Mean over 2x2 blocks: [N,H,W,C] -> [N,H/2,W/2,C]; an odd last row or column is dropped.
Var avg_pool2x(const Var& x);

// ---- norm.cpp
// GroupNorm (Wu and He 2018) of x [N, ..., C] over `groups` groups of channels, then SiLU if asked.
Var group_norm(const Var& x, const Var& gamma, const Var& beta, std::int64_t groups, double eps,
               bool with_silu = false);
// Throws Error naming `op` unless groups divide the channels.
void expect_groups(const char* op, std::int64_t channels, std::int64_t groups);
// LayerNorm (Ba 2016) over the innermost axis. gamma or beta undefined: 1 or 0.
Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double eps);

// ---- modulate.cpp: numbers of an image [N,C], for all tokens [N,T,C] of it. Those are as exact as parameters are kept.
// x (1 + scale) + shift
Var modulate(const Var& x, const Var& shift, const Var& scale);
// x + gate y
Var gated_sum(const Var& x, const Var& gate, const Var& y);

// ---- attention.cpp
// softmax(q kᵀ / √d) v per head (Vaswani 2017, eq. 1): q [N,Tq,C], k and v [N,Tk,C], d = C/heads.
Var attention(const Var& q, const Var& k, const Var& v, std::int64_t heads);
// The same for q, k and v side by side, as one projection makes them: [N,T,3C] -> [N,T,C].
Var self_attention(const Var& qkv, std::int64_t heads);

// ---- dropout.cpp
// Zeroes each element with probability p and scales the rest by 1/(1-p). The mask is a function of
// `rng`'s address: nothing is stored for the backward pass.
Var dropout(const Var& x, double p, const Rng& rng);

}  // namespace sfumato
