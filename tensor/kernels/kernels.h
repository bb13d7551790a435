// The numeric kernels of the CPU, which the differentiable operations are made of: a table of
// functions. kernels::table<T>().gemm({.m = 2, ...}) calls the instruction set in use (isa.h).
//
// T is float or double (double is for gradient checks), on a GPU also bf16; Wide<T> is then float, otherwise T (bf16.h).
// All arrays are contiguous and row-major;
// images are [n, h, w, c]. No argument is checked here: the operations in autograd/ do that. Outputs
// are overwritten, and may not overlap inputs unless the field says so. Results are the same bits
// for any number of threads. Any thread may call any kernel at any time.
//
// reference.h defines every kernel by plain loops: read it first.
//
// A new kernel touches 3 files: its pointer in a family below; the kernel in a header, with its row
// in the family's `fill`; its definition by plain loops in reference.h, with its row there.
#pragma once
#include <cstdint>
#include <span>

#include "tensor/bf16.h"
#include "tensor/device.h"

namespace sfumato::kernels {

using index = std::int64_t;

// ---- matrix products

// C[m,n] = op(A) op(B) + bias (+ C if accumulate). op(A) is [m,k], op(B) is [k,n]; `transpose_a`
// says that A is stored [k,m].
template <class T, class Out = T>
struct Gemm {
  index m, n, k;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  const T *a, *b;  // may be null if k = 0
  Out* c;
  index lda = 0, ldb = 0, ldc = 0;  // elements between the starts of stored rows; 0: no gaps
  const Wide<T>* bias = nullptr;    // [n], optional; only without transpose_a and accumulate
  // [m], optional, only with transpose_a: the column sums of stored A (the gradient of the bias when
  // C is that of the weights).
  Wide<T>* sums = nullptr;
};

// A linear layer: y[m, out] = u wᵀ + bias + residual, where u[m, in] is x or x sigmoid(x).
struct Linear {
  index m, in, out;
  bool silu;
};
template <class T>
struct LinearForward {
  Linear linear;
  const T *x, *w;                 // w [out, in]
  const Wide<T>* bias = nullptr;  // [out], optional
  const T* residual = nullptr;    // [m, out], optional
  T* y;
};
// A null gradient is not computed.
template <class T>
struct LinearBackward {
  Linear linear;
  const T *x, *w, *dy;
  T* dx = nullptr;
  const T* add = nullptr;  // optional summand of dx; may be dx itself
  Wide<T>*dw = nullptr, *db = nullptr;
};

template <class T>
struct GemmKernels {
  void (*gemm)(const Gemm<T>&);
  void (*gemm_wide)(const Gemm<T, Wide<T>>&);  // for gradients of weights
  void (*linear_forward)(const LinearForward<T>&);
  void (*linear_backward)(const LinearBackward<T>&);
};

// ---- convolution

// 2-d cross-correlation (what the field calls convolution), y[n,oh,ow,k] from x[n,h,w,c]:
//   y[b,i,j,o] = bias[o] + Σ_{u,v,p} x[b, i*stride + u - pad_top, j*stride + v - pad_left, p] w[o,p,u,v]
// with zeros outside x. The padding below and to the right is what oh and ow reach.
struct Conv {
  index n, h, w, c;  // input
  index oh, ow, k;   // output
  index kh, kw, stride, pad_top, pad_left;
};

// Where a convolution's input comes from, and what happens to it as it is read: a second array of
// channels, group normalisation (then SiLU), nearest-neighbour 2x upsampling, in this order. The
// result, the effective input [n, h, w, c], is not kept: conv_backward makes it again. conv_forward writes the
// statistics mean, rstd [n, groups]; conv_backward reads them.
template <class T>
struct ConvInput {
  const T* x = nullptr;  // [n, h, w, c - skip_channels]; with `upsample` [n, h/2, w/2, ...]
  bool upsample = false;
  index groups = 0;  // 0: no normalisation
  double eps = 0;
  const Wide<T>*gamma = nullptr, *beta = nullptr;
  Wide<T>*mean = nullptr, *rstd = nullptr;
  bool silu = false;
  const T* skip = nullptr;  // optional second array (a skip connection): the last channels
  index skip_channels = 0;
};

// A convolution of something else, with an output of the same extents: what a residual block adds where its channels change.
// Its input is not normalised.
template <class T>
struct ConvShortcut {
  Conv conv = {};
  ConvInput<T> in = {};
  const T* w = nullptr;
  const Wide<T>* bias = nullptr;  // [k], optional
};

// Where a convolution's output goes, and what is added to it: bias [k], an embedding per image
// [n, k], another image [n, oh, ow, k] or else a shortcut; each may be null.
template <class T>
struct ConvOutput {
  T* y;
  const Wide<T>*bias = nullptr, *per_image = nullptr;
  const T* residual = nullptr;
  const ConvShortcut<T>* shortcut = nullptr;
};

// Where the gradients of a convolution go. A null one is not computed.
template <class T>
struct ConvGradients {
  T* dx = nullptr;                             // of ConvInput's x, in its shape
  const T* add = nullptr;                      // optional summand of dx; may be dx itself
  Wide<T>*dgamma = nullptr, *dbeta = nullptr;  // [c], both, with dx and a normalised input
  Wide<T>*dw = nullptr, *db = nullptr;         // [k, c, kh, kw], [k]; db only with dw
  Wide<T>* per_image = nullptr;                // [n, k], of ConvOutput's
  T* dskip = nullptr;                          // of ConvInput's `skip`, with dx
  const T* add_skip = nullptr;                 // optional summand of dskip; may be dskip itself
  // Of ConvOutput's shortcut: what it was, and where its gradients go (its db is this db).
  const ConvShortcut<T>* shortcut = nullptr;
  const ConvGradients* of_shortcut = nullptr;
};

template <class T>
struct ConvKernels {
  // w is [k, c, kh, kw] (PyTorch's layout). `filters`: optional, what conv_filters made of w.
  void (*conv_forward)(const Conv&, const ConvInput<T>&, const T* w, const ConvOutput<T>&,
                       const T* filters);
  // All gradients in one call, given dy [n, oh, ow, k]: what one reads, the next finds in the cache.
  // (The gradient of ConvOutput's residual is dy.)
  void (*conv_backward)(const Conv&, const ConvInput<T>&, const T* dy, const T* w,
                        const ConvGradients<T>&);
  // For weights that many calls share: conv_filters writes the conv_filters_size elements that spare
  // conv_forward its first step. Size 0: w is used as it is.
  index (*conv_filters_size)(const Conv&, bool upsample);
  void (*conv_filters)(const Conv&, bool upsample, const T* w, T* filters);
};

// How 3x3 convolutions of stride 1 are computed: `direct` sums the products as written; `winograd`
// needs a quarter of them or less and rounds more (docs/performance.md); `automatic` takes Winograd
// where it is faster, in f32.
enum class ConvMethod { automatic, direct, winograd };
// SFUMATO_CONV=auto|direct|winograd. Throws Error when it names something else.
ConvMethod conv_method();
// For tests and benches. Not to be called while kernels run.
void set_conv_method(ConvMethod method);

// ---- normalisation

// Group normalisation (Wu and He 2018), optionally followed by SiLU, over x[n, hw, c]: each of the
// `groups` groups of c/groups channels of one image gets mean 0 and variance 1, then gamma, beta.
// With hw = 1 and groups = 1 this is layer normalisation of n rows.
struct GroupNorm {
  index n, hw, c, groups;
  double eps;
  bool silu;
};
template <class T>
struct GroupNormForward {
  GroupNorm norm;
  const T* x;                  // [n, hw, c]
  const Wide<T>*gamma, *beta;  // [c]
  T* y;                        // [n, hw, c]
  Wide<T>*mean, *rstd;         // [n, groups]: the backward pass reads them
};
template <class T>
struct GroupNormBackward {
  GroupNorm norm;
  const T* x;  // this and the next four as in the forward pass
  const Wide<T>*gamma, *beta, *mean, *rstd;
  const T* dy;             // [n, hw, c]
  T* dx;                   // [n, hw, c]; may be dy
  Wide<T>*dgamma, *dbeta;  // [c]
  const T* add = nullptr;  // [n, hw, c], optional summand of dx; may be dx itself
};

template <class T>
struct NormKernels {
  void (*group_norm_forward)(const GroupNormForward<T>&);
  void (*group_norm_backward)(const GroupNormBackward<T>&);
};

// ---- attention

// Scaled dot-product attention (Vaswani 2017, eq. 1) for each image and head, without a [tq, tk]
// array in memory: out = softmax(scale q kᵀ) v. q and out are [n, tq, heads*d], k and v
// [n, tk, heads*d]. Rows of q, and of k and v, are q_row and kv_row elements apart, as are those of
// their gradients: q, k and v may be columns of one array.
struct Attention {
  index n, tq, tk, heads, d;
  double scale;
  index q_row, kv_row;
};
template <class T>
struct AttentionForward {
  Attention attention;
  const T *q, *k, *v;
  T* out;
  Wide<T>* lse;  // [n, heads, tq], log Σ exp of each row of scores: the backward pass reads it
};
template <class T>
struct AttentionBackward {
  Attention attention;
  const T *q, *k, *v, *out;
  const Wide<T>* lse;
  const T* dout;
  T *dq, *dk, *dv;
};

template <class T>
struct AttentionKernels {
  void (*attention_forward)(const AttentionForward<T>&);
  void (*attention_backward)(const AttentionBackward<T>&);
};

// ---- one or two passes over memory

// Columns of a matrix that are copied to columns of another: to[r * to_step + j] = from[r * from_step + j] for j < cols.
template <class T>
struct Columns {
  index cols;
  const T* from;  // null: zeros are written
  index from_step;
  T* to;
  index to_step;
};

template <class T>
struct PointwiseKernels {
  // y = x sigmoid(x);  dx = dy s (1 + x (1 - s)), s = sigmoid(x).
  void (*silu_forward)(index n, const T* x, T* y);
  void (*silu_backward)(index n, const T* x, const T* dy, T* dx);
  // y = x s,  dx = dy (s + y (1 - s) du/dx):  s = sigmoid(u), u = √(8/π) (x + 0.044715 x³).
  void (*gelu_tanh_forward)(index n, const T* x, T* y);
  void (*gelu_tanh_backward)(index n, const T* x, const T* dy, T* dx);
  // Each row of x[rows, cols] becomes exp(x - max) / Σ;  dx = y (dy - Σ y dy).
  void (*softmax_forward)(index rows, index cols, const T* x, T* y);
  void (*softmax_backward)(index rows, index cols, const T* y, const T* dy, T* dx);
  // `rows` rows of each part.
  void (*copy_columns)(index rows, std::span<const Columns<T>> parts);
  // out[outer, cols] = Σ_rows x[outer, rows, cols].
  void (*sum_rows)(index outer, index rows, index cols, const T* x, Wide<T>* out);
  // *out = Σ x and Σ x², added up in double and in an order that n alone decides.
  void (*sum)(index n, const T* x, double* out);
  void (*sum_of_squares)(index n, const T* x, double* out);
};

// ---- all of them

template <class T>
struct Kernels : GemmKernels<T>,
                 ConvKernels<T>,
                 NormKernels<T>,
                 AttentionKernels<T>,
                 PointwiseKernels<T> {};

// Those of a device: on<T>(x.device()).sum(...). All arrays are in its memory. On a GPU a kernel is started and the CPU
// does not wait for it. Throws Error as backend() does (tensor/backend.h).
template <class T>
const Kernels<T>& on(Device device);
template <>
const Kernels<float>& on<float>(Device device);
template <>
const Kernels<double>& on<double>(Device device);
template <>
const Kernels<bf16>& on<bf16>(Device device);  // throws Error for the CPU

// Those of the CPU, for the instruction set in use.
template <class T>
const Kernels<T>& table();
template <>
const Kernels<float>& table<float>();
template <>
const Kernels<double>& table<double>();

}  // namespace sfumato::kernels
