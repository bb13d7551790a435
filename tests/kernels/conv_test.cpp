#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

struct Padding {
  index top, left, bottom, right;
};

Conv make_conv(index n, index h, index w, index c, index k, index kh, index kw, index stride,
               Padding p) {
  return {n,
          h,
          w,
          c,
          (h + p.top + p.bottom - kh) / stride + 1,
          (w + p.left + p.right - kw) / stride + 1,
          k,
          kh,
          kw,
          stride,
          p.top,
          p.left};
}
Conv square(index n, index size, index c, index k, index kernel, index stride) {
  const index p = kernel / 2;
  return make_conv(n, size, size, c, k, kernel, kernel, stride, {p, p, p, p});
}

std::string describe(const Conv& s) {
  std::string text;
  for (const index i :
       {s.n, s.h, s.w, s.c, s.oh, s.ow, s.k, s.kh, s.kw, s.stride, s.pad_top, s.pad_left})
    text += std::to_string(i) + " ";
  return "n h w c | oh ow k | kh kw stride top left: " + text;
}

// Calls f(y index, x index, w index) for every product of the convolution: the definition in
// kernels.h, and all that its gradients need.
template <class F>
void for_each_product(const Conv& s, const F& f) {
  for (index b = 0; b < s.n; ++b)
    for (index i = 0; i < s.oh; ++i)
      for (index j = 0; j < s.ow; ++j)
        for (index u = 0; u < s.kh; ++u)
          for (index v = 0; v < s.kw; ++v) {
            const index r = i * s.stride + u - s.pad_top, q = j * s.stride + v - s.pad_left;
            if (r < 0 || r >= s.h || q < 0 || q >= s.w) continue;
            const index y = ((b * s.oh + i) * s.ow + j) * s.k, x = ((b * s.h + r) * s.w + q) * s.c;
            for (index o = 0; o < s.k; ++o)
              for (index p = 0; p < s.c; ++p)
                f(y + o, x + p, ((o * s.c + p) * s.kh + u) * s.kw + v);
          }
}

std::vector<Conv> shapes() {
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
  all.push_back(square(1, 28, 5, 7, 3, 1));
  all.push_back(square(1, 33, 4, 9, 3, 2));
  all.push_back(square(9, 7, 33, 17, 3, 1));
  all.push_back(square(2, 14, 17, 20, 3, 2));
  all.push_back(square(2, 13, 20, 33, 3, 3));
  all.push_back(square(3, 9, 17, 33, 1, 1));
  all.push_back(square(3, 9, 17, 33, 1, 2));
  // Asymmetric padding, kernels and images.
  all.push_back(make_conv(2, 6, 9, 10, 12, 3, 3, 2, {0, 0, 1, 1}));
  all.push_back(make_conv(2, 7, 5, 9, 4, 2, 3, 1, {1, 0, 0, 2}));
  all.push_back(make_conv(1, 4, 11, 2, 3, 3, 2, 2, {2, 1, 1, 3}));
  all.push_back(make_conv(2, 5, 6, 18, 19, 1, 5, 1, {0, 2, 0, 2}));
  all.push_back(make_conv(2, 5, 6, 8, 19, 1, 1, 1, {1, 2, 0, 3}));
  all.push_back(make_conv(2, 6, 6, 17, 3, 3, 3, 1, {0, 0, 0, 0}));
  all.push_back(make_conv(1, 3, 3, 4, 4, 3, 3, 1, {2, 2, 2, 2}));
  all.push_back(make_conv(1, 3, 3, 16, 2, 2, 2, 1, {3, 3, 3, 3}));
  all.push_back(make_conv(1, 9, 9, 3, 4, 2, 2, 3, {0, 0, 0, 0}));
  // A tile larger than the cache: bands.
  all.push_back(make_conv(1, 40, 40, 65, 2, 3, 3, 1, {1, 1, 1, 1}));
  all.push_back(make_conv(1, 9, 700, 20, 2, 3, 3, 2, {1, 1, 1, 1}));
  return all;
}

template <class T>
void check(const Conv& s) {
  SCOPED_TRACE(describe(s));
  const index x_size = s.n * s.h * s.w * s.c, y_size = s.n * s.oh * s.ow * s.k;
  const index w_size = s.k * s.c * s.kh * s.kw;
  const auto x = numbers<T>(x_size, 1), w = numbers<T>(w_size, 2), bias = numbers<T>(s.k, 3);
  const auto dy = numbers<T>(y_size, 4);
  const auto zeros = [](index size) { return std::vector<double>(static_cast<std::size_t>(size)); };
  auto y = zeros(y_size), dx = zeros(x_size), dw = zeros(w_size), db = zeros(s.k);
  for_each_product(s, [&](index iy, index ix, index iw) {
    y[iy] += static_cast<double>(x[ix]) * w[iw];
    dx[ix] += static_cast<double>(dy[iy]) * w[iw];
    dw[iw] += static_cast<double>(dy[iy]) * x[ix];
  });
  for (index i = 0; i < y_size; ++i) db[i % s.k] += dy[i];
  auto y_bias = y;
  for (index i = 0; i < y_size; ++i) y_bias[i] += bias[i % s.k];

  Guarded<T> got_y(y_size), got_y_bias(y_size), got_dx(x_size), got_dw(w_size), got_db(s.k);
  conv_forward<T>(s, x.data(), w.data(), bias.data(), got_y_bias.data());
  conv_forward<T>(s, x.data(), w.data(), nullptr, got_y.data());
  conv_backward_data(s, dy.data(), w.data(), got_dx.data());
  conv_backward_weights(s, x.data(), dy.data(), got_dw.data(), got_db.data());
  expect_close(got_y_bias, y_bias, "y");
  expect_close(got_y, y, "y without bias");
  expect_close(got_dx, dx, "dx");
  expect_close(got_dw, dw, "dw");
  expect_close(got_db, db, "db");

  Guarded<T> alone(w_size);
  conv_backward_weights<T>(s, x.data(), dy.data(), alone.data(), nullptr);
  EXPECT_EQ(alone.values(), got_dw.values());
}

TEST(ConvKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const Conv& s : shapes()) check<T>(s);
  });
}

TEST(ConvKernel, SameBitsOnAnyNumberOfThreads) {
  for_every_isa([]<class T>() {
    for (const Conv& s : {square(9, 14, 33, 40, 3, 1), square(1, 14, 16, 33, 3, 2),
                          square(40, 7, 3, 16, 3, 1), square(3, 7, 33, 1, 3, 1)}) {
      SCOPED_TRACE(describe(s));
      const auto x = numbers<T>(s.n * s.h * s.w * s.c, 1);
      const auto w = numbers<T>(s.k * s.c * s.kh * s.kw, 2);
      const auto dy = numbers<T>(s.n * s.oh * s.ow * s.k, 3);
      expect_same_on_any_threads([&] {
        Guarded<T> y(dy.size()), dx(x.size()), dw(w.size()), db(s.k);
        conv_forward<T>(s, x.data(), w.data(), nullptr, y.data());
        conv_backward_data(s, dy.data(), w.data(), dx.data());
        conv_backward_weights(s, x.data(), dy.data(), dw.data(), db.data());
        std::vector<T> all;
        append(all, y), append(all, dx), append(all, dw), append(all, db);
        return all;
      });
    }
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
