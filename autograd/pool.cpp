// Pooling of images [N, H, W, C] over square windows. Forward, an output reads its window; backward, a pixel reads the outputs
// whose windows it lies in, so that no two threads write the same number.
#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/for_each.h"

namespace sfumato {
namespace {

struct Windows {
  std::int64_t n, h, w, c, oh, ow, kernel, stride;

  Shape input() const { return {n, h, w, c}; }
  Shape output() const { return {n, oh, ow, c}; }
  std::int64_t outputs() const { return n * oh * ow; }
  std::int64_t pixels() const { return n * h * w; }
  // The windows that pixel `i` of a column or row lies in: [first, last], of `count`.
  constexpr std::int64_t first(std::int64_t i) const {
    return i < kernel ? 0 : (i - kernel) / stride + 1;
  }
  constexpr std::int64_t last(std::int64_t i, std::int64_t count) const {
    return std::min(i / stride, count - 1);
  }
};

Windows windows_of(const char* op, const Tensor& x, std::int64_t kernel, std::int64_t stride) {
  expect_rank(op, "input", x, 4);
  const std::int64_t h = x.dim(1), w = x.dim(2);
  if (kernel < 1 || stride < 1 || kernel > h || kernel > w)
    throw Error(op,
                fmt::format("expected windows of 1..{} pixels, 1 or more apart, got {}, {} apart",
                            std::min(h, w), kernel, stride));
  return {x.dim(0), h,     w, x.dim(3), (h - kernel) / stride + 1, (w - kernel) / stride + 1,
          kernel,   stride};
}

// The window of an output as a row: where its first pixel is.
template <class T>
struct Window {
  Windows s;
  const T* first;
  constexpr Window(const Windows& s, const T* x, std::int64_t output) : s(s), first(x) {
    const std::int64_t j = output % s.ow, i = output / s.ow % s.oh, image = output / (s.ow * s.oh);
    first += ((image * s.h + i * s.stride) * s.w + j * s.stride) * s.c;
  }
  constexpr T at(std::int64_t u, std::int64_t v, std::int64_t p) const {
    return first[(u * s.w + v) * s.c + p];
  }
};

template <class T>
struct AveragePool {
  Windows s;
  Wide<T> share;
  const T* x;
  T* y;

  struct Row {
    Window<T> window;
    Wide<T> share;
    T* to;
    constexpr void operator()(std::int64_t p) const {
      Wide<T> sum = 0;
      for (std::int64_t u = 0; u < window.s.kernel; ++u)
        for (std::int64_t v = 0; v < window.s.kernel; ++v) sum += window.at(u, v, p);
      to[p] = static_cast<T>(share * sum);
    }
  };
  constexpr Row operator()(std::int64_t output) const {
    return {Window<T>(s, x, output), share, y + output * s.c};
  }
};

// Also which pixel of its window an output is, counted row by row: a NaN, or else the first of the largest.
template <class T>
struct MaxPool {
  Windows s;
  const T* x;
  T* y;
  std::int64_t* chosen;

  struct Row {
    Window<T> window;
    T* to;
    std::int64_t* chosen;
    constexpr void operator()(std::int64_t p) const {
      const std::int64_t k = window.s.kernel;
      Wide<T> best = window.at(0, 0, p);
      std::int64_t which = 0;
      for (std::int64_t i = 1; i < k * k; ++i) {
        const Wide<T> v = window.at(i / k, i % k, p);
        if (v > best || v != v) best = v, which = i;
      }
      to[p] = static_cast<T>(best);
      chosen[p] = which;
    }
  };
  constexpr Row operator()(std::int64_t output) const {
    return {Window<T>(s, x, output), y + output * s.c, chosen + output * s.c};
  }
};

// A pixel's gradient: of every window that it lies in, a share; with `chosen`, all where it was chosen, else nothing.
template <class T>
struct PoolGradient {
  Windows s;
  Wide<T> share;
  const T* dy;
  const std::int64_t* chosen;  // null: every pixel of a window has its share
  T* dx;

  struct Row {
    PoolGradient g;
    std::int64_t i, j, image;
    T* to;
    constexpr void operator()(std::int64_t p) const {
      const Windows& s = g.s;
      Wide<T> sum = 0;
      for (std::int64_t oi = s.first(i); oi <= s.last(i, s.oh); ++oi)
        for (std::int64_t oj = s.first(j); oj <= s.last(j, s.ow); ++oj) {
          const std::int64_t at = ((image * s.oh + oi) * s.ow + oj) * s.c + p,
                             place = (i - oi * s.stride) * s.kernel + (j - oj * s.stride);
          if (!g.chosen || g.chosen[at] == place) sum += g.dy[at];
        }
      to[p] = static_cast<T>(g.share * sum);
    }
  };
  constexpr Row operator()(std::int64_t pixel) const {
    return {*this, pixel / s.w % s.h, pixel % s.w, pixel / (s.w * s.h), dx + pixel * s.c};
  }
};

template <class T>
Tensor pool_gradient(const Windows& s, double share, const Tensor& dy, const std::int64_t* chosen) {
  Tensor dx(s.input(), dy.kind());
  for_each_row(dy.device(), s.pixels(), s.c,
               PoolGradient<T>{s, static_cast<Wide<T>>(share), dy.data<T>(), chosen, dx.data<T>()});
  return dx;
}

}  // namespace

// y = Σ_window x / k²;  dx = Σ_{windows with the pixel} dy / k²
Var avg_pool2d(const Var& x, std::int64_t kernel, std::int64_t stride) {
  const Tensor xv = x.value();
  const Windows s = windows_of("avg_pool2d", xv, kernel, stride);
  const double share = 1 / static_cast<double>(kernel * kernel);
  return dispatch_float("avg_pool2d", x.kind(), [&]<class T>() {
    Tensor y(s.output(), x.kind());
    for_each_row(y.device(), s.outputs(), s.c,
                 AveragePool<T>{s, static_cast<Wide<T>>(share), xv.data<T>(), y.data<T>()});
    return record("avg_pool2d", y, {x}, kNoProducts, [s, share](const Tensor& dy) {
      return Gradients{pool_gradient<T>(s, share, dy, nullptr)};
    });
  });
}

// y = max_window x;  dx = Σ_{windows whose maximum the pixel is} dy
Var max_pool2d(const Var& x, std::int64_t kernel, std::int64_t stride) {
  const Tensor xv = x.value();
  const Windows s = windows_of("max_pool2d", xv, kernel, stride);
  return dispatch_float("max_pool2d", x.kind(), [&]<class T>() {
    Tensor y(s.output(), x.kind());
    const Tensor chosen(s.output(), {DType::i64, y.device()});
    for_each_row(y.device(), s.outputs(), s.c,
                 MaxPool<T>{s, xv.data<T>(), y.data<T>(), Tensor(chosen).data<std::int64_t>()});
    return record("max_pool2d", y, {x}, kNoProducts, [s, chosen](const Tensor& dy) {
      return Gradients{pool_gradient<T>(s, 1, dy, chosen.data<std::int64_t>())};
    });
  });
}

}  // namespace sfumato
