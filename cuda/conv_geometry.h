// A convolution as kernels see it: its extents, what it reads, and the elements of the products that it is made of.
#pragma once
#include "cuda/channels.h"
#include "cuda/divide.h"

namespace sfumato::cuda {

using kernels::Conv;
using kernels::ConvInput;

// The extents, in types that a GPU divides quickly. u is what is convolved, before it is upsampled.
struct Extents {
  unsigned h, w;  // of what is convolved
  Divisor c, oh, ow, k, kh, kw;
  Divisor pixels, taps;  // oh ow, kh kw
  Divisor stride;
  int pad_top, pad_left;
  Divisor scale;  // 2: u is upsampled
  Divisor uh, uw;

  Extents(const Conv& s, bool upsample)
      : h(narrow(s.h)),
        w(narrow(s.w)),
        c(at_least_1(s.c)),
        oh(at_least_1(s.oh)),
        ow(at_least_1(s.ow)),
        k(at_least_1(s.k)),
        kh(at_least_1(s.kh)),
        kw(at_least_1(s.kw)),
        pixels(oh * ow),
        taps(kh * kw),
        stride(narrow(s.stride)),
        pad_top(static_cast<int>(s.pad_top)),
        pad_left(static_cast<int>(s.pad_left)),
        scale(upsample ? 2 : 1),
        uh(at_least_1(upsample ? s.h / 2 : s.h)),
        uw(at_least_1(upsample ? s.w / 2 : s.w)) {}
  constexpr unsigned columns() const { return c * taps; }
  // Of the filters in the place of which those summed over a doubled pixel's copies stand: taps t - 1 and t meet copies of one
  // pixel, so there is a tap more on each side.
  Extents with_summed_taps() const {
    Extents s = *this;
    s.kh = Divisor(kh + 1), s.kw = Divisor(kw + 1), s.taps = Divisor(s.kh * s.kw);
    ++s.pad_top, ++s.pad_left;
    return s;
  }

 private:
  static unsigned at_least_1(index i) { return i < 1 ? 1 : narrow(i); }
};

// The pixels of images of even height and width in four classes, by the parity of row and column: pixel (i, j) of class (y, x) is
// (2 i + y, 2 j + x). A tile has pixels of one class alone, since all of them lie alike to pixels of an image half as large.
struct Parity {
  unsigned y, x;
};
struct PixelsByParity {
  Divisor h, w;  // of a class
  bool used = false;

  unsigned classes() const { return used ? 4 : 1; }
  static constexpr Parity parity(unsigned number) { return {number / 2, number % 2}; }
  // Of all images, pixel `number` of a class.
  constexpr unsigned pixel(unsigned number, const Parity& of) const {
    return used ? (2 * (number / w) + of.y) * (2 * w) + 2 * (number % w) + of.x : number;
  }
};

template <class T>
Normalised<T> reads(const Conv& s, const ConvInput<T>& in) {
  const Channels<const T> x{in.x, narrow(s.c - in.skip_channels), in.skip,
                            narrow(in.skip_channels)};
  Normalised<T> u{x};
  u.silu = in.silu;
  if (in.groups == 0) return u;
  u.groups = narrow(in.groups), u.per_group = Divisor(narrow(s.c / in.groups));
  u.gamma = in.gamma, u.beta = in.beta, u.mean = in.mean, u.rstd = in.rstd;
  return u;
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

// What output pixels are sums of: u at (window of an output pixel, tap of the filter), 0 outside of the image.
template <class T>
struct Patches {
  Extents s;
  Normalised<T> input;

  struct Window {
    unsigned image;
    int y, x;  // its first row and column
  };
  struct Tap {
    unsigned p;
    int u, v;
  };
  constexpr Window window(unsigned pixel) const {
    const unsigned i = pixel / s.ow % s.oh, j = pixel % s.ow;
    return {pixel / s.pixels, static_cast<int>(i * s.stride) - s.pad_top,
            static_cast<int>(j * s.stride) - s.pad_left};
  }
  constexpr Wide<T> operator()(const Window& from, const Tap& tap) const {
    const index at = pixel(from, tap);
    return at < 0 ? 0 : input.u(from.image, at, tap.p);
  }
  // Where u is x: its address, or null.
  constexpr const T* address(const Window& from, const Tap& tap) const {
    const index at = pixel(from, tap);
    return at < 0 ? nullptr : &input.x.at(at, tap.p);
  }

 private:
  // Of all images'; -1 outside of the image.
  constexpr index pixel(const Window& from, const Tap& tap) const {
    const int y = from.y + tap.u, x = from.x + tap.v;
    if (y < 0 || y >= static_cast<int>(s.h) || x < 0 || x >= static_cast<int>(s.w)) return -1;
    const index row = static_cast<index>(from.image) * s.uh + narrow(y) / s.scale;
    return row * s.uw + narrow(x) / s.scale;
  }
};

}  // namespace sfumato::cuda
