// The numeric kernels of the CPU: what the differentiable operations stand on.
//
// Each is written once, as a template on the number type and on the vector width, and compiled once
// per instruction set (isa.h); these functions call the set in use. T is float or double. All
// arrays are contiguous and row-major; images are [n, h, w, c]. No argument is checked here: the
// operations in autograd/ do that. Results are the same bits for any number of threads.
#pragma once
#include <cstdint>

namespace sfumato::kernels {

using index = std::int64_t;

// C[m,n] = op(A) op(B) (+ C if accumulate). op(A) is [m,k], op(B) is [k,n]; `transpose_a` says that
// A is stored [k,m]. lda, ldb, ldc are the distances between stored rows. `bias`: null, or n
// numbers added to every row of C, where neither transpose_a nor accumulate is asked for. `sums`:
// null, or room for m numbers, where transpose_a is: what the stored columns of A add up to (with C
// the gradient of weights, that of their bias).
struct Gemm {
  index m, n, k;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  index lda, ldb, ldc;
};
template <class T>
void gemm(const Gemm& g, const T* a, const T* b, T* c, const T* bias = nullptr, T* sums = nullptr);

// 2-d cross-correlation (what the field calls convolution), y[n,oh,ow,k] from x[n,h,w,c]:
//   y[b,i,j,o] = bias[o] + Σ_{u,v,p} x[b, i*stride + u - pad_top, j*stride + v - pad_left, p]
//   w[o,p,u,v]
// with zeros outside x. The padding below and to the right is what oh and ow reach.
struct Conv {
  index n, h, w, c;  // input
  index oh, ow, k;   // output
  index kh, kw, stride, pad_top, pad_left;
};
// Where a convolution's input comes from, and what happens to it as it is read: group normalisation
// (then SiLU), and doubling of its pixels. What the convolution sees is never stored, beyond
// the images at hand; the statistics mean, rstd [n, groups] are: conv_forward writes them,
// conv_backward reads them.
template <class T>
struct ConvInput {
  const T* x;  // [n, h, w, c]; with `upsample` [n, h/2, w/2, c]
  bool upsample = false;
  index groups = 0;  // 0: no normalisation
  double eps = 0;
  const T *gamma = nullptr, *beta = nullptr;
  T *mean = nullptr, *rstd = nullptr;
  bool silu = false;
  const T* beside = nullptr;  // where x has only the first channels: the last beside_c of them
  index beside_c = 0;
};
// Where its output goes, and what is added to it on the way: bias [k], an embedding per image
// [n, k], another image [n, oh, ow, k]; each may be null.
template <class T>
struct ConvOutput {
  T* y;
  const T *bias = nullptr, *per_image = nullptr, *residual = nullptr;
};
// w is [k, c, kh, kw] (PyTorch's layout). `filters`: null, or what conv_filters made of w.
template <class T>
void conv_forward(const Conv& s, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                  const T* filters = nullptr);
// For weights that many calls share: conv_filters_size numbers (none where w is used as it is)
// that spare conv_forward its first step.
template <class T>
index conv_filters_size(const Conv& s, bool upsample);
template <class T>
void conv_filters(const Conv& s, bool upsample, const T* w, T* filters);
// Where the gradients of a convolution go; each is left out where null, all others are overwritten.
template <class T>
struct ConvGradients {
  T* dx = nullptr;                        // of ConvInput's x, in its shape
  const T* add = nullptr;                 // null, or what is added to dx: dx itself, or another
  T *dgamma = nullptr, *dbeta = nullptr;  // [c], both, where x is normalised and dx wanted
  T *dw = nullptr, *db = nullptr;         // [k, c, kh, kw], [k]; db only with dw
  T* per_image = nullptr;                 // [n, k], of ConvOutput's
  T* dbeside = nullptr;                   // as dx, of what lies beside it, with dx
  const T* add_beside = nullptr;
};
// Given dy [n, oh, ow, k]. (The gradient of ConvOutput's residual is dy.) One call for all of them,
// because what one gradient reads, the next finds in the cache.
template <class T>
void conv_backward(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                   const ConvGradients<T>& g);

// How 3x3 convolutions of stride 1 are computed: `direct` adds up the products as written;
// `winograd` needs a quarter of them or less and rounds more (docs/performance.md); `automatic`
// takes Winograd where it is faster, in f32.
enum class ConvMethod { automatic, direct, winograd };
// SFUMATO_CONV=auto|direct|winograd. Throws Error when it names something else.
ConvMethod conv_method();
// For tests and benches. Not to be called while kernels run.
void set_conv_method(ConvMethod method);

// Group normalisation (Wu and He 2018), optionally followed by SiLU, over x[n, hw, c]: each of the
// `groups` groups of c/groups channels of one image gets mean 0 and variance 1, then gamma, beta
// [c]. With hw = 1 and groups = 1 this is layer normalisation of n rows.
struct GroupNorm {
  index n, hw, c, groups;
  double eps;
  bool silu;
};
// mean, rstd: [n, groups], kept for the backward pass.
template <class T>
void group_norm_forward(const GroupNorm& s, const T* x, const T* gamma, const T* beta, T* y,
                        T* mean, T* rstd);
// Overwrites dx [n,hw,c] (which may be dy), dgamma [c], dbeta [c]. `add` [n,hw,c], which may be dx,
// is added to dx unless null.
template <class T>
void group_norm_backward(const GroupNorm& s, const T* x, const T* gamma, const T* beta,
                         const T* mean, const T* rstd, const T* dy, const T* add, T* dx, T* dgamma,
                         T* dbeta);

// Scaled dot-product attention (Vaswani 2017, eq. 1) for each image and head, without a [t, t]
// array in memory: out = softmax(scale q kᵀ) v. q and out are [n, tq, heads*d], k and v [n, tk,
// heads*d]; rows of q, and of k and v, may lie further apart than they are long (q_row, kv_row), as
// those of their gradients then do.
struct Attention {
  index n, tq, tk, heads, d;
  double scale;
  index q_row, kv_row;
};
// lse [n, heads, tq] = log Σ exp of each row, kept for the backward pass.
template <class T>
void attention_forward(const Attention& s, const T* q, const T* k, const T* v, T* out, T* lse);
// Overwrites dq, dk, dv.
template <class T>
void attention_backward(const Attention& s, const T* q, const T* k, const T* v, const T* out,
                        const T* lse, const T* dout, T* dq, T* dk, T* dv);

// y = x sigmoid(x);  dx = dy s (1 + x (1 - s)), s = sigmoid(x).
template <class T>
void silu_forward(index n, const T* x, T* y);
template <class T>
void silu_backward(index n, const T* x, const T* dy, T* dx);

// Each row of x[rows, cols] becomes exp(x - max) / Σ;  dx = y (dy - Σ y dy).
template <class T>
void softmax_forward(index rows, index cols, const T* x, T* y);
template <class T>
void softmax_backward(index rows, index cols, const T* y, const T* dy, T* dx);

// to[r * to_step + j] = from[r * from_step + j] for `rows` rows of `cols` numbers.
template <class T>
void copy_rows(index rows, index cols, const T* from, index from_step, T* to, index to_step);

// out[cols] = Σ_rows x[rows, cols].
template <class T>
void sum_rows(index rows, index cols, const T* x, T* out);

}  // namespace sfumato::kernels
