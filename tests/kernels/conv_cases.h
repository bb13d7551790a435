// Shapes of convolutions, and what the reference makes of them.
#pragma once
#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {

struct Padding {
  index top, left, bottom, right;
};

struct Kernel {
  index h, w, stride;
};

inline Conv make_conv(index n, index h, index w, index c, index k, Kernel kernel, Padding p) {
  return {.n = n,
          .h = h,
          .w = w,
          .c = c,
          .oh = (h + p.top + p.bottom - kernel.h) / kernel.stride + 1,
          .ow = (w + p.left + p.right - kernel.w) / kernel.stride + 1,
          .k = k,
          .kh = kernel.h,
          .kw = kernel.w,
          .stride = kernel.stride,
          .pad_top = p.top,
          .pad_left = p.left};
}
inline Conv square(index n, index size, index c, index k, index kernel, index stride) {
  const index p = kernel / 2;
  return make_conv(n, size, size, c, k, {kernel, kernel, stride}, {p, p, p, p});
}

inline std::string describe(const Conv& s) {
  std::string text;
  for (const index i :
       {s.n, s.h, s.w, s.c, s.oh, s.ow, s.k, s.kh, s.kw, s.stride, s.pad_top, s.pad_left})
    text += std::to_string(i) + " ";
  return "n h w c | oh ow k | kh kw stride top left: " + text;
}

inline std::vector<Conv> conv_shapes() {
  std::vector<Conv> all;
  // Channels around the vector widths.
  for (const index c : {1, 2, 3, 5, 16, 17, 31, 32, 33, 48, 64}) {
    all.push_back(square(1, 5, c, 16, 3, 1));
    all.push_back(square(2, 5, 16, c, 3, 1));
  }
  for (const index c : {1, 3, 17, 33}) {
    for (const index k : {1, 3, 17, 33}) all.push_back(square(2, 5, c, k, 3, 1));
  }
  // Sizes, kernels and strides.
  for (const index size : {1, 2, 5, 7, 8, 14}) {
    for (const index kernel : {1, 2, 3, 5}) {
      for (const index stride : {1, 2, 3}) {
        if (size + kernel / 2 * 2 >= kernel) all.push_back(square(3, size, 3, 5, kernel, stride));
      }
    }
  }
  // One channel in (and, in the gradient of the input, one channel out).
  for (const index stride : {1, 2, 3}) {
    for (const index kernel : {2, 3, 5}) all.push_back(square(2, 11, 1, 33, kernel, stride));
  }
  all.push_back(make_conv(2, 6, 9, 1, 12, {3, 2, 2}, {0, 0, 1, 1}));
  all.push_back(make_conv(2, 7, 5, 1, 19, {2, 4, 1}, {3, 0, 0, 2}));
  all.push_back(make_conv(2, 5, 5, 9, 1, {2, 2, 1}, {3, 3, 3, 3}));
  all.push_back(square(1, 28, 5, 7, 3, 1));
  all.push_back(square(1, 33, 4, 9, 3, 2));
  all.push_back(square(9, 7, 33, 17, 3, 1));
  all.push_back(square(2, 14, 17, 20, 3, 2));
  all.push_back(square(2, 13, 20, 33, 3, 3));
  all.push_back(square(3, 9, 17, 33, 1, 1));
  all.push_back(square(3, 9, 17, 33, 1, 2));
  // Several taps of a phase side by side; several images at a time, and not in whole groups.
  all.push_back(square(2, 11, 35, 17, 5, 2));
  all.push_back(square(2, 11, 35, 17, 5, 3));
  all.push_back(square(19, 6, 17, 16, 5, 2));
  all.push_back(square(19, 7, 3, 16, 3, 1));
  all.push_back(square(19, 7, 3, 16, 3, 2));
  // Asymmetric padding, kernels and images.
  all.push_back(make_conv(2, 6, 9, 10, 12, {3, 3, 2}, {0, 0, 1, 1}));
  all.push_back(make_conv(2, 7, 5, 9, 4, {2, 3, 1}, {1, 0, 0, 2}));
  // Every pair of what Winograd's last tiles hold: 1 to 4 rows and columns.
  for (const index h : {5, 6, 7, 8}) {
    for (const index w : {5, 6, 7, 8})
      all.push_back(make_conv(3, h, w, 9, 17, {3, 3, 1}, {1, 1, 1, 1}));
  }
  all.push_back(make_conv(1, 4, 11, 2, 3, {3, 2, 2}, {2, 1, 1, 3}));
  all.push_back(make_conv(2, 5, 6, 18, 19, {1, 5, 1}, {0, 2, 0, 2}));
  all.push_back(make_conv(2, 5, 6, 8, 19, {1, 1, 1}, {1, 2, 0, 3}));
  all.push_back(make_conv(2, 6, 6, 17, 3, {3, 3, 1}, {0, 0, 0, 0}));
  all.push_back(make_conv(1, 3, 3, 4, 4, {3, 3, 1}, {2, 2, 2, 2}));
  all.push_back(make_conv(1, 3, 3, 16, 2, {2, 2, 1}, {3, 3, 3, 3}));
  all.push_back(make_conv(1, 9, 9, 3, 4, {2, 2, 3}, {0, 0, 0, 0}));
  return all;
}

// Larger ones, which a CPU divides by its caches and its threads.
inline std::vector<Conv> divided_conv_shapes() {
  return {square(25, 28, 1, 32, 3, 1),  // large enough to be streamed
          // So few tiles that the threads share the filters.
          square(1, 14, 40, 96, 3, 1), square(1, 30, 9, 70, 3, 1),
          // A tile larger than the cache: bands.
          make_conv(1, 40, 40, 65, 2, {3, 3, 1}, {1, 1, 1, 1}),
          make_conv(1, 9, 700, 20, 2, {3, 3, 2}, {1, 1, 1, 1})};
}

template <class T>
struct Operands {
  explicit Operands(const Conv& s)
      : x(numbers<T>(s.n * s.h * s.w * s.c, 1)),
        w(numbers<T>(s.k * s.c * s.kh * s.kw, 2)),
        bias(numbers<Wide<T>>(s.k, 3)),
        dy(numbers<T>(s.n * s.oh * s.ow * s.k, 4)) {}
  std::vector<T> x, w;
  std::vector<Wide<T>> bias;
  std::vector<T> dy;
};

// By the reference in double, once for all instruction sets: the operands are the same numbers in every type.
struct Exact {
  explicit Exact(const Conv& s) {
    const Operands<double> in(s);
    y.resize(in.dy.size()), dx.resize(in.x.size()), dw.resize(in.w.size()), db.resize(s.k);
    reference::conv_forward<double>(s, {.x = in.x.data()}, in.w.data(), {.y = y.data()}, nullptr);
    reference::conv_backward<double>(s, {.x = in.x.data()}, in.dy.data(), in.w.data(),
                                     {.dx = dx.data(), .dw = dw.data(), .db = db.data()});
    y_bias = y;
    for (index i = 0; i < std::ssize(y); ++i) y_bias[i] += in.bias[i % s.k];
  }
  std::vector<double> y, y_bias, dx, dw, db;
};

}  // namespace sfumato::kernels::testing
