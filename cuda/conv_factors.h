// The factors (tile.h) of the three products that a convolution is made of. Terms are summed tap by tap, channels
// innermost, as they lie in memory.
#pragma once
#include "cuda/conv_geometry.h"

namespace sfumato::cuda {

// y[output pixel, o] = Σ over (tap, p): u at (window, tap, p)  w[o, p, tap].
template <class T>
struct WindowsOfPixels {
  static constexpr bool kAlongInner = true;
  using Outer = typename Patches<T>::Window;
  using Inner = typename Patches<T>::Tap;
  Patches<T> u;
  bool in_chunks = u.input.plain() && u.input.x.in_chunks();
  constexpr Outer outer(unsigned pixel) const { return u.window(pixel); }
  constexpr Inner inner(unsigned term) const { return tap_of(u.s, term); }
  constexpr Wide<T> operator()(const Outer& window, const Inner& tap) const {
    return u(window, tap);
  }
  constexpr const T* chunk(const Outer& window, const Inner& tap) const {
    return u.address(window, tap);
  }

  static constexpr Inner tap_of(const Extents& s, unsigned term) {
    const unsigned tap = term / s.c;
    return {term % s.c, static_cast<int>(tap / s.kw), static_cast<int>(tap % s.kw)};
  }
};
// Where w[0, p, tap] is.
constexpr unsigned place_in_filter(const Extents& s, unsigned term) {
  return term % s.c * s.taps + term / s.c;
}
// w, and where chunks can be made of them the same numbers as [o, tap, p], otherwise null.
template <class T>
struct Weights {
  const T *w, *by_tap;
};
template <class T>
struct Filters {
  static constexpr bool kAlongInner = true;
  using Outer = index;
  using Inner = unsigned;
  Extents s;
  Weights<T> weights;
  unsigned first = 0;  // of a filter's terms
  bool in_chunks = weights.by_tap != nullptr;
  constexpr Outer outer(unsigned o) const { return static_cast<index>(o) * s.columns() + first; }
  constexpr Inner inner(unsigned term) const { return term; }
  constexpr Wide<T> operator()(Outer filter, Inner term) const {
    return weights.w[filter + place_in_filter(s, term)];
  }
  constexpr const T* chunk(Outer filter, Inner term) const {
    return weights.by_tap + filter + term;
  }
};

// dw[(tap, p), o] = Σ over output pixels: u at (window, tap, p)  dy[pixel, o].
template <class T>
struct TapsOfWindows {
  static constexpr bool kAlongInner = false;
  using Outer = typename Patches<T>::Tap;
  using Inner = typename Patches<T>::Window;
  Patches<T> u;
  bool in_chunks = u.input.plain() && u.input.x.in_chunks();
  constexpr Outer outer(unsigned column) const { return WindowsOfPixels<T>::tap_of(u.s, column); }
  constexpr Inner inner(unsigned pixel) const { return u.window(pixel); }
  constexpr Wide<T> operator()(const Outer& tap, const Inner& window) const {
    return u(window, tap);
  }
  constexpr const T* chunk(const Outer& tap, const Inner& window) const {
    return u.address(window, tap);
  }
};
template <class T>
struct OutputGradients {
  static constexpr bool kAlongInner = false;
  using Outer = unsigned;
  using Inner = index;
  unsigned k;
  const T* dy;
  bool in_chunks = cuda::in_chunks(k, dy);
  constexpr Outer outer(unsigned o) const { return o; }
  constexpr Inner inner(unsigned pixel) const { return static_cast<index>(pixel) * k; }
  constexpr Wide<T> operator()(Outer o, Inner pixel) const { return dy[pixel + o]; }
  constexpr const T* chunk(Outer o, Inner pixel) const { return dy + pixel + o; }
};

// du[pixel of u, p] = Σ over (copy, tap, o): dy at the output pixel whose window has the copy at the tap  w[o, p, tap].
// The copies of a pixel are what upsampling makes of it, scale² of them; 1 where filters are summed over them (TapOrder).
template <class T>
struct OutputsOfPixels {
  static constexpr bool kAlongInner = true;
  struct Outer {
    unsigned image;
    int y, x;  // of the first copy, from where padding begins
  };
  struct Inner {
    unsigned o;
    int y, x;  // of the copy, less those of the tap
  };
  Extents s;
  const T* dy;
  Divisor copies = s.scale;  // on a side
  bool in_chunks = cuda::in_chunks(s.k, dy);

  constexpr unsigned terms() const { return copies * copies * s.taps * s.k; }
  constexpr Outer outer(unsigned pixel) const {
    const unsigned row = pixel / s.uw, col = pixel % s.uw;
    return {row / s.uh, static_cast<int>(row % s.uh * s.scale) + s.pad_top,
            static_cast<int>(col * s.scale) + s.pad_left};
  }
  constexpr Inner inner(unsigned term) const {
    const unsigned rest = term / s.k, copy = rest / s.taps, tap = rest % s.taps;
    return {term % s.k, static_cast<int>(copy / copies) - static_cast<int>(tap / s.kw),
            static_cast<int>(copy % copies) - static_cast<int>(tap % s.kw)};
  }
  constexpr Wide<T> operator()(const Outer& pixel, const Inner& from) const {
    const T* const at = chunk(pixel, from);
    return at ? Wide<T>(*at) : 0;
  }
  constexpr const T* chunk(const Outer& pixel, const Inner& from) const {
    const int y = pixel.y + from.y, x = pixel.x + from.x;
    if (y < 0 || x < 0) return nullptr;
    const unsigned i = narrow(y) / s.stride, j = narrow(x) / s.stride;
    if (i >= s.oh || j >= s.ow || i * s.stride != narrow(y) || j * s.stride != narrow(x))
      return nullptr;
    return dy + ((static_cast<index>(pixel.image) * s.oh + i) * s.ow + j) * s.k + from.o;
  }
};
template <class T>
struct FiltersOfTaps {
  static constexpr bool kAlongInner = false;
  using Outer = unsigned;
  struct Inner {
    index filter;
    unsigned tap;
  };
  Extents s;
  Weights<T> weights;
  bool in_chunks = weights.by_tap != nullptr;
  constexpr Outer outer(unsigned p) const { return p; }
  constexpr Inner inner(unsigned term) const {
    return {static_cast<index>(term % s.k) * s.columns(), term / s.k % s.taps};
  }
  constexpr Wide<T> operator()(Outer p, const Inner& at) const {
    return weights.w[at.filter + p * s.taps + at.tap];
  }
  constexpr const T* chunk(Outer p, const Inner& at) const {
    return weights.by_tap + at.filter + at.tap * s.c + p;
  }
};

// The same of pixels of one parity, where outputs are two pixels apart: of the taps, every second one meets an output.
class TapsOfParity {
 public:
  static constexpr unsigned kMost = 4;  // taps of a filter on a side
  constexpr TapsOfParity(const Extents& s, const Parity& of)
      : s_(s),
        y_((of.y + static_cast<unsigned>(s.pad_top)) % 2),
        x_((of.x + static_cast<unsigned>(s.pad_left)) % 2),
        down_((of.y + static_cast<unsigned>(s.pad_top)) / 2),
        right_((of.x + static_cast<unsigned>(s.pad_left)) / 2),
        log_across_(count(s.kw, x_) / 2) {}

  constexpr unsigned terms() const { return count(s_.kh, y_) * count(s_.kw, x_) * s_.k; }
  // Number `rest` of them: its row and column among them, and its number among all.
  constexpr unsigned row(unsigned rest) const { return rest >> log_across_; }
  constexpr unsigned col(unsigned rest) const { return rest & log_across_; }
  constexpr unsigned tap(unsigned rest) const {
    return (y_ + 2 * row(rest)) * s_.kw + x_ + 2 * col(rest);
  }
  // The output under the first of them, of pixel (i, j) of the class.
  constexpr unsigned y(unsigned i) const { return i + down_; }
  constexpr unsigned x(unsigned j) const { return j + right_; }
  constexpr const Extents& extents() const { return s_; }

 private:
  static constexpr unsigned count(unsigned taps, unsigned first) { return (taps + 1 - first) / 2; }
  const Extents& s_;
  unsigned y_, x_;  // the first of them
  unsigned down_, right_;
  unsigned log_across_;  // there are one or two on a side
};
template <class T>
struct OutputsOfParity {
  static constexpr bool kAlongInner = true;
  struct Outer {
    unsigned image, y, x;
  };
  struct Inner {
    unsigned o, y, x;
  };
  const TapsOfParity& taps;
  const PixelsByParity& pixels;
  const T* dy;
  bool in_chunks;
  constexpr Outer outer(unsigned number) const {
    const unsigned row = number / pixels.w;
    return {row / pixels.h, taps.y(row % pixels.h), taps.x(number % pixels.w)};
  }
  constexpr Inner inner(unsigned term) const {
    const unsigned rest = term / taps.extents().k;
    return {term % taps.extents().k, taps.row(rest), taps.col(rest)};
  }
  constexpr Wide<T> operator()(const Outer& pixel, const Inner& from) const {
    const T* const at = chunk(pixel, from);
    return at ? Wide<T>(*at) : 0;
  }
  constexpr const T* chunk(const Outer& pixel, const Inner& from) const {
    const Extents& s = taps.extents();
    const unsigned i = pixel.y - from.y, j = pixel.x - from.x;
    if (i >= s.oh || j >= s.ow) return nullptr;
    return dy + ((static_cast<index>(pixel.image) * s.oh + i) * s.ow + j) * s.k + from.o;
  }
};
template <class T>
struct FiltersOfParity {
  static constexpr bool kAlongInner = false;
  using Outer = unsigned;
  using Inner = typename FiltersOfTaps<T>::Inner;
  const TapsOfParity& taps;
  const FiltersOfTaps<T>& all;
  bool in_chunks = all.in_chunks;
  constexpr Outer outer(unsigned p) const { return p; }
  constexpr Inner inner(unsigned term) const {
    const Extents& s = taps.extents();
    return {static_cast<index>(term % s.k) * s.columns(), taps.tap(term / s.k)};
  }
  constexpr Wide<T> operator()(Outer p, const Inner& at) const { return all(p, at); }
  constexpr const T* chunk(Outer p, const Inner& at) const { return all.chunk(p, at); }
};

// What lies under the taps of a filter that is moved over every pixel: channels of the pixel tap (u, v) from pixel (y, x) on is
// (y + u - pad_top, x + v - pad_left), or, mirrored, (y - u + pad_top, x - v + pad_left), as for the input's gradient.
template <class T>
struct PixelsUnderTaps {
  Channels<const T> x;
  unsigned channels = 0;
  unsigned pixels = 0;           // all
  Divisor of_image{}, h{}, w{};  // its pixels
  int kh = 0, kw = 0, pad_top = 0, pad_left = 0;
  bool mirrored = false;

  constexpr unsigned taps() const { return static_cast<unsigned>(kh * kw); }
  // By how many pixels taps lead away from a pixel at most.
  constexpr unsigned halo() const { return farthest(kh, pad_top) * w + farthest(kw, pad_left); }
  constexpr int down(unsigned tap) const { return turned(static_cast<int>(tap) / kw - pad_top); }
  constexpr int right(unsigned tap) const { return turned(static_cast<int>(tap) % kw - pad_left); }
  // From a pixel to that under a tap; negative, as unsigned numbers are that wrap.
  constexpr unsigned shift(unsigned tap) const {
    return static_cast<unsigned>(down(tap)) * w + static_cast<unsigned>(right(tap));
  }
  // A bit for each tap, set if it meets the picture.
  constexpr std::uint32_t inside(unsigned pixel) const {
    const unsigned y = pixel / w % h, x_ = pixel % w;
    std::uint32_t of_row = 0, bits = 0;
    for (int v = 0; v < kw; ++v)
      of_row |= static_cast<std::uint32_t>(x_ + static_cast<unsigned>(turned(v - pad_left)) < w)
                << v;
    for (int u = 0; u < kh; ++u)
      if (y + static_cast<unsigned>(turned(u - pad_top)) < h) bits |= of_row << (u * kw);
    return bits;
  }
  constexpr unsigned first_of_image(unsigned pixel) const { return pixel / of_image * of_image; }
  constexpr const T* chunk(unsigned pixel, unsigned c) const { return &x.at(pixel, c); }

  // Of a doubled picture, those of a class of its pixels: two taps on a side, of the four of summed filters.
  constexpr PixelsUnderTaps of(const Parity& parity) const {
    PixelsUnderTaps pixels = *this;
    pixels.pad_top = 1 - static_cast<int>(parity.y),
    pixels.pad_left = 1 - static_cast<int>(parity.x);
    return pixels;
  }

 private:
  static constexpr unsigned farthest(int taps, int before) {
    return static_cast<unsigned>(taps - 1 - before > before ? taps - 1 - before : before);
  }
  constexpr int turned(int i) const { return mirrored ? -i : i; }
};

}  // namespace sfumato::cuda
