// A convolution is a product of matrices, once its input is laid out in columns (im2col): row
// (image, i, j) has what output pixel (i, j) reads, [c, kh, kw] as in w [k, c, kh, kw]. Then
//   y = columns wᵀ,   dw = dyᵀ columns,   dcolumns = dy w,
// and du sums dcolumns over all places that an element of u was copied to.
#include <algorithm>

#include "cuda/channels.h"
#include "cuda/conv.h"
#include "cuda/gemm.h"
#include "cuda/memory.h"
#include "cuda/norm.h"
#include "cuda/sum.h"

namespace sfumato::cuda {
namespace {

using kernels::Conv;
using kernels::ConvGradients;
using kernels::ConvInput;
using kernels::ConvOutput;

// The extents that kernels use, in types that a GPU divides quickly.
struct Extents {
  unsigned h, w, c, oh, ow, k, kh, kw;
  int stride, pad_top, pad_left;
  unsigned scale;  // 2: u is half as high and wide as what is convolved, and upsampled

  Extents(const Conv& s, bool upsample)
      : h(narrow(s.h)),
        w(narrow(s.w)),
        c(narrow(s.c)),
        oh(narrow(s.oh)),
        ow(narrow(s.ow)),
        k(narrow(s.k)),
        kh(narrow(s.kh)),
        kw(narrow(s.kw)),
        stride(static_cast<int>(s.stride)),
        pad_top(static_cast<int>(s.pad_top)),
        pad_left(static_cast<int>(s.pad_left)),
        scale(upsample ? 2 : 1) {}
  constexpr index columns() const { return static_cast<index>(c) * kh * kw; }
};

// columns[output pixel, (p, u, v)] = what the output pixel is the sum of, 0 outside of the image.
template <class T>
struct Gather {
  Extents s;
  unsigned first;  // image of row 0
  Normalised<T> input;
  T* columns;

  constexpr void operator()(unsigned row, unsigned col) const {
    const unsigned image = first + row / (s.oh * s.ow), i = row / s.ow % s.oh, j = row % s.ow;
    const unsigned p = col / (s.kh * s.kw), u = col / s.kw % s.kh, v = col % s.kw;
    const int y = static_cast<int>(i) * s.stride + static_cast<int>(u) - s.pad_top;
    const int x = static_cast<int>(j) * s.stride + static_cast<int>(v) - s.pad_left;
    const bool inside = y >= 0 && y < static_cast<int>(s.h) && x >= 0 && x < static_cast<int>(s.w);
    columns[row * s.columns() + col] =
        static_cast<T>(inside ? at(image, narrow(y), narrow(x), p) : 0);
  }
  constexpr Wide<T> at(unsigned image, unsigned y, unsigned x, unsigned p) const {
    const unsigned h = s.h / s.scale, w = s.w / s.scale;
    const index pixel = (static_cast<index>(image) * h + y / s.scale) * w + x / s.scale;
    return input.u(image, pixel, p);
  }
};

// to[pixel of u, p] = Σ dcolumns over all places where Gather put it, plus `add`.
template <class T>
struct Scatter {
  Extents s;
  unsigned first;  // image of pixel 0
  const T* dcolumns;
  Channels<T> to;
  Channels<const T> add;

  constexpr void operator()(unsigned pixel, unsigned p) const {
    const unsigned h = s.h / s.scale, w = s.w / s.scale;
    const unsigned image = pixel / (h * w), row = pixel / w % h, col = pixel % w;
    Wide<T> sum = 0;
    for (unsigned y = row * s.scale; y < (row + 1) * s.scale; ++y)
      for (unsigned x = col * s.scale; x < (col + 1) * s.scale; ++x) sum += taps(image, y, x, p);
    const index at = static_cast<index>(first) * h * w + pixel;
    to.at(at, p) = static_cast<T>(sum + add.or_zero(at, p));
  }
  // Over all (u, v) and outputs (i, j) with y = i stride + u - pad_top, x = j stride + v - pad_left.
  constexpr Wide<T> taps(unsigned image, unsigned y, unsigned x, unsigned p) const {
    Wide<T> sum = 0;
    for (unsigned u = 0; u < s.kh; ++u) {
      const int i = static_cast<int>(y + s.pad_top) - static_cast<int>(u);
      if (i < 0 || i % s.stride != 0 || i / s.stride >= static_cast<int>(s.oh)) continue;
      for (unsigned v = 0; v < s.kw; ++v) {
        const int j = static_cast<int>(x + s.pad_left) - static_cast<int>(v);
        if (j < 0 || j % s.stride != 0 || j / s.stride >= static_cast<int>(s.ow)) continue;
        const index row = (static_cast<index>(image) * s.oh + i / s.stride) * s.ow + j / s.stride;
        sum += dcolumns[row * s.columns() + (p * s.kh + u) * s.kw + v];
      }
    }
    return sum;
  }
};

// y = what is added to the products.
template <class T>
struct Summands {
  unsigned pixels;  // of an image
  index k;
  ConvOutput<T> out;
  constexpr void operator()(unsigned pixel, unsigned o) const {
    const index i = pixel * k + o;
    Wide<T> sum = 0;
    if (out.bias) sum += out.bias[o];
    if (out.per_image) sum += out.per_image[pixel / pixels * k + o];
    if (out.residual) sum += out.residual[i];
    out.y[i] = static_cast<T>(sum);
  }
};

template <class T>
Normalised<T> reads(const Conv& s, const ConvInput<T>& in) {
  const Channels<const T> x{in.x, narrow(s.c - in.skip_channels), in.skip,
                            narrow(in.skip_channels)};
  if (in.groups == 0) return {x};
  return {x,      narrow(in.groups), narrow(s.c / in.groups), in.gamma, in.beta, in.mean, in.rstd,
          in.silu};
}

template <class T>
kernels::GroupNorm norm_of(const Conv& s, const ConvInput<T>& in) {
  return {.n = s.n,
          .hw = s.h * s.w / (in.upsample ? 4 : 1),
          .c = s.c,
          .groups = in.groups,
          .eps = in.eps,
          .silu = in.silu};
}

// The input is its own columns: 1x1, of every pixel as it is.
template <class T>
bool plain(const Conv& s, const ConvInput<T>& in) {
  return s.kh == 1 && s.kw == 1 && s.stride == 1 && s.pad_top == 0 && s.pad_left == 0 &&
         s.oh == s.h && s.ow == s.w && !in.upsample && in.groups == 0 && in.skip_channels == 0;
}

// Some images, and their columns or the gradients of these.
struct Part {
  index first, n;
};
template <class T, class F>
void for_parts(const Conv& s, const F& f) {
  const auto image = static_cast<std::size_t>(s.oh * s.ow * s.c * s.kh * s.kw) * sizeof(T);
  const index most = std::max<index>(1, conv_column_bytes / std::max<std::size_t>(1, image));
  for (index i = 0; i < s.n; i += most) f(Part{i, std::min(most, s.n - i)});
}

// The columns of some images: `room`, filled, or x itself.
template <class T>
class Columns {
 public:
  Columns(const Conv& s, const ConvInput<T>& in, Part part)
      : x_(plain(s, in) ? in.x + part.first * s.h * s.w * s.c : nullptr),
        room_(static_cast<std::size_t>(x_ ? 0 : part.n * s.oh * s.ow * s.c * s.kh * s.kw)) {
    const Extents e(s, in.upsample);
    if (!x_)
      for_each_of_row(part.n * s.oh * s.ow, e.columns(),
                      Gather<T>{e, narrow(part.first), reads(s, in), room_.get()});
  }
  const T* get() const { return x_ ? x_ : room_.get(); }

 private:
  const T* x_;
  Scratch<T> room_;
};

// db [k] and per_image [n, k] are sums of dy over pixels.
template <class T>
void bias_gradients(const Conv& s, const T* dy, const ConvGradients<T>& g) {
  if (!g.db && !g.per_image) return;
  const Scratch<Wide<T>> room(static_cast<std::size_t>(g.per_image ? 0 : s.n * s.k));
  Wide<T>* const per_image = g.per_image ? g.per_image : room.get();
  sum_rows(s.n, s.oh * s.ow, s.k, dy, per_image);
  if (g.db) sum_rows<Wide<T>>(1, s.n, s.k, per_image, g.db);
}

template <class T>
void weight_gradient(const Conv& s, const ConvInput<T>& in, const T* dy, Wide<T>* dw) {
  const index row = s.c * s.kh * s.kw, pixels = s.oh * s.ow;
  if (s.n == 0) gemm<T, Wide<T>>({.m = s.k, .n = row, .k = 0, .a = nullptr, .b = nullptr, .c = dw});
  for_parts<T>(s, [&](Part part) {
    const Columns<T> columns(s, in, part);
    gemm<T, Wide<T>>({.m = s.k,
                      .n = row,
                      .k = part.n * pixels,
                      .transpose_a = true,
                      .accumulate = part.first > 0,
                      .a = dy + part.first * pixels * s.k,
                      .b = columns.get(),
                      .c = dw});
  });
}

// du, plus `add`, to where `to` says.
template <class T>
void input_gradient(const Conv& s, bool upsample, const T* dy, const T* w, const Channels<T>& to,
                    const Channels<const T>& add) {
  const Extents e(s, upsample);
  const index pixels = s.oh * s.ow;
  for_parts<T>(s, [&](Part part) {
    const Scratch<T> dcolumns(static_cast<std::size_t>(part.n * pixels * e.columns()));
    gemm<T, T>({.m = part.n * pixels,
                .n = e.columns(),
                .k = s.k,
                .a = dy + part.first * pixels * s.k,
                .b = w,
                .c = dcolumns.get()});
    for_each_of_row(part.n * s.h * s.w / (e.scale * e.scale), s.c,
                    Scatter<T>{e, narrow(part.first), dcolumns.get(), to, add});
  });
}

}  // namespace

template <class T>
void conv_forward(const Conv& s, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                  const T* /*filters*/) {
  const Normalised<T> input = reads(s, in);
  if (in.groups > 0) group_norm_statistics(norm_of(s, in), input.x, in.mean, in.rstd);
  const index pixels = s.oh * s.ow;
  const bool more = out.per_image || out.residual;
  if (more) for_each_of_row(s.n * pixels, s.k, Summands<T>{narrow(pixels), s.k, out});
  for_parts<T>(s, [&](Part part) {
    const Columns<T> columns(s, in, part);
    gemm<T, T>({.m = part.n * pixels,
                .n = s.k,
                .k = s.c * s.kh * s.kw,
                .transpose_b = true,
                .accumulate = more,
                .a = columns.get(),
                .b = w,
                .c = out.y + part.first * pixels * s.k,
                .bias = more ? nullptr : out.bias});
  });
}

template <class T>
void conv_backward(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                   const ConvGradients<T>& g) {
  bias_gradients(s, dy, g);
  if (g.dw) weight_gradient(s, in, dy, g.dw);
  if (!g.dx) return;
  const unsigned skip = narrow(in.skip_channels), own = narrow(s.c) - skip;
  const Channels<T> dx{g.dx, own, g.dskip, skip};
  const Channels<const T> add{g.add, own, g.add_skip, skip};
  if (plain(s, in) && (!g.add || g.add == g.dx))
    return gemm<T, T>({.m = s.n * s.h * s.w,
                       .n = s.c,
                       .k = s.k,
                       .accumulate = g.add != nullptr,
                       .a = dy,
                       .b = w,
                       .c = g.dx});
  if (in.groups == 0) return input_gradient(s, in.upsample, dy, w, dx, add);
  const kernels::GroupNorm norm = norm_of(s, in);
  const Scratch<T> du(static_cast<std::size_t>(norm.n * norm.hw * norm.c));
  input_gradient(s, in.upsample, dy, w, Channels<T>{du.get(), narrow(s.c)}, Channels<const T>{});
  group_norm_backward(norm, reads(s, in), du.get(), NormGradients<T>{dx, add, g.dgamma, g.dbeta});
}

template <class T>
index conv_filters_size(const Conv&, bool /*upsample*/) {
  return 0;
}
template <class T>
void conv_filters(const Conv&, bool /*upsample*/, const T* /*w*/, T* /*filters*/) {}

#define SFUMATO_INSTANTIATE(T)                                                                 \
  template void conv_forward(const Conv&, const ConvInput<T>&, const T*, const ConvOutput<T>&, \
                             const T*);                                                        \
  template void conv_backward(const Conv&, const ConvInput<T>&, const T*, const T*,            \
                              const ConvGradients<T>&);                                        \
  template index conv_filters_size<T>(const Conv&, bool);                                      \
  template void conv_filters(const Conv&, bool, const T*, T*);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(double)
SFUMATO_INSTANTIATE(bf16)

}  // namespace sfumato::cuda
