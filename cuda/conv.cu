// A convolution of many channels is a product of matrices, once its input is laid out in columns (im2col): row
// (image, i, j) has what output pixel (i, j) reads, [c, kh, kw] as in w [k, c, kh, kw]. Then
//   y = columns wᵀ,   dw = dyᵀ columns,   dcolumns = dy w,
// and du sums dcolumns over all places that an element of u was copied to.
#include <algorithm>
#include <limits>

#include "cuda/conv.h"
#include "cuda/conv_geometry.h"
#include "cuda/conv_tiles.h"
#include "cuda/gemm.h"
#include "cuda/memory.h"
#include "cuda/norm.h"
#include "cuda/sum.h"

namespace sfumato::cuda {
namespace {

using kernels::ConvGradients;
using kernels::ConvOutput;
using kernels::ConvShortcut;

// columns[output pixel, (p, u, v)] = what the output pixel is the sum of, 0 outside of the image.
template <class T>
struct Gather {
  Patches<T> u;
  unsigned first;  // pixel of row 0
  T* columns;

  constexpr void operator()(unsigned row, unsigned col) const {
    const Extents& s = u.s;
    const typename Patches<T>::Tap tap{col / s.taps, static_cast<int>(col / s.kw % s.kh),
                                       static_cast<int>(col % s.kw)};
    columns[static_cast<index>(row) * s.columns() + col] =
        static_cast<T>(u(u.window(first + row), tap));
  }
};

// to[pixel of u, p] = Σ dcolumns over all places where Gather put it, plus `add`.
template <class T>
struct Scatter {
  Extents s;
  unsigned first;  // image of pixel 0
  const T* dcolumns;
  Normalised<T> input;  // with silu alone, to = dx
  Channels<T> to;
  Channels<const T> add;

  constexpr void operator()(unsigned pixel, unsigned p) const {
    const unsigned row = pixel / s.uw, col = pixel % s.uw, image = row / s.uh, y0 = row % s.uh;
    Wide<T> sum = 0;
    for (unsigned y = y0 * s.scale; y < (y0 + 1) * s.scale; ++y)
      for (unsigned x = col * s.scale; x < (col + 1) * s.scale; ++x) sum += taps(image, y, x, p);
    const index at = static_cast<index>(first) * s.uh * s.uw + pixel;
    if (input.groups == 0 && input.silu) sum *= input.slope(input.x.at(at, p));
    to.at(at, p) = static_cast<T>(sum + add.or_zero(at, p));
  }
  // Over all (u, v) and outputs (i, j) with y = i stride + u - pad_top, x = j stride + v - pad_left.
  constexpr Wide<T> taps(unsigned image, unsigned y, unsigned x, unsigned p) const {
    Wide<T> sum = 0;
    for (unsigned u = 0; u < s.kh; ++u) {
      const int from_y = static_cast<int>(y) + s.pad_top - static_cast<int>(u);
      const unsigned i = narrow(from_y) / s.stride;
      if (from_y < 0 || narrow(from_y) % s.stride != 0 || i >= s.oh) continue;
      for (unsigned v = 0; v < s.kw; ++v) {
        const int from_x = static_cast<int>(x) + s.pad_left - static_cast<int>(v);
        const unsigned j = narrow(from_x) / s.stride;
        if (from_x < 0 || narrow(from_x) % s.stride != 0 || j >= s.ow) continue;
        const index row = (static_cast<index>(image) * s.oh + i) * s.ow + j;
        sum += dcolumns[row * s.columns() + (p * s.kh + u) * s.kw + v];
      }
    }
    return sum;
  }
};

// y = what is added to the products.
template <class T>
struct Summands {
  Divisor pixels;  // of an image
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

// The input is its own columns: 1x1, of every pixel as it is.
template <class T>
bool plain(const Conv& s, const ConvInput<T>& in) {
  return s.kh == 1 && s.kw == 1 && s.stride == 1 && s.pad_top == 0 && s.pad_left == 0 &&
         s.oh == s.h && s.ow == s.w && !in.upsample && in.groups == 0 && !in.silu &&
         in.skip_channels == 0;
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
                      Gather<T>{{e, reads(s, in)}, narrow(part.first * s.oh * s.ow), room_.get()});
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
void input_gradient(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                    const Channels<T>& to, const Channels<const T>& add) {
  const Extents e(s, in.upsample);
  const index pixels = s.oh * s.ow;
  for_parts<T>(s, [&](Part part) {
    const Scratch<T> dcolumns(static_cast<std::size_t>(part.n * pixels * e.columns()));
    gemm<T, T>({.m = part.n * pixels,
                .n = e.columns(),
                .k = s.k,
                .a = dy + part.first * pixels * s.k,
                .b = w,
                .c = dcolumns.get()});
    for_each_of_row(part.n * s.h * s.w / (in.upsample ? 4 : 1), s.c,
                    Scatter<T>{e, narrow(part.first), dcolumns.get(), reads(s, in), to, add});
  });
}

// Tiles count in 31 bits, and nothing is none of their cases.
bool fits_tiles(const Conv& s) {
  constexpr index kLimit = std::numeric_limits<int>::max();
  const index pixels = std::max(s.oh * s.ow, s.h * s.w), terms = s.kh * s.kw * std::max(s.c, s.k);
  return std::min({s.n, s.h, s.w, s.c, s.oh, s.ow, s.k}) > 0 && s.n * pixels <= kLimit / 4 &&
         4 * terms <= kLimit;
}

// By tiles, unless channels are so many that cuBLASLt's products are worth columns, which take 72 bytes of traffic for k FLOP
// each: twice as many where tiles have tensor cores, too. A shortcut, if there is one, is multiplied by the same tiles.
template <class T>
bool by_tiles(const Conv& s, const ConvShortcut<T>* shortcut) {
  constexpr index kLarge = 4096;
  const index many = std::is_same_v<T, double> ? 128 : 256;
  if (!fits_tiles(s) || (shortcut && !fits_tiles(shortcut->conv))) return false;
  if (conv_path != ConvPath::automatic) return conv_path == ConvPath::tiles;
  return s.c < many || s.k < many || s.n * std::max(s.oh * s.ow, s.h * s.w) < kLarge;
}

}  // namespace

template <class T>
void conv_forward(const Conv& s, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                  const T* /*filters*/) {
  if (by_tiles(s, out.shortcut)) return conv_forward_by_tiles(s, in, w, out);
  if (const ConvShortcut<T>* const shortcut = out.shortcut) {
    const Scratch<T> sum(static_cast<std::size_t>(s.n * s.oh * s.ow * s.k));
    conv_forward<T>(shortcut->conv, shortcut->in, shortcut->w,
                    {.y = sum.get(), .bias = shortcut->bias}, nullptr);
    return conv_forward<T>(
        s, in, w, {.y = out.y, .bias = out.bias, .per_image = out.per_image, .residual = sum.get()},
        nullptr);
  }
  const Normalised<T> input = reads(s, in);
  if (in.groups > 0) group_norm_statistics(norm_of(s, in), input.x, in.mean, in.rstd);
  const index pixels = s.oh * s.ow;
  const bool more = out.per_image || out.residual;
  if (more)
    for_each_of_row(s.n * pixels, s.k, Summands<T>{Extents(s, in.upsample).pixels, s.k, out});
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
  if (by_tiles(s, g.shortcut)) return conv_backward_by_tiles(s, in, dy, w, g);
  if (g.shortcut) {
    conv_backward(g.shortcut->conv, g.shortcut->in, dy, g.shortcut->w, *g.of_shortcut);
    ConvGradients<T> rest = g;
    rest.shortcut = nullptr;
    return conv_backward(s, in, dy, w, rest);
  }
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
  if (in.groups == 0) return input_gradient(s, in, dy, w, dx, add);
  const kernels::GroupNorm norm = norm_of(s, in);
  const Scratch<T> du(static_cast<std::size_t>(norm.n * norm.hw * norm.c));
  input_gradient(s, in, dy, w, Channels<T>{du.get(), narrow(s.c)}, Channels<const T>{});
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
