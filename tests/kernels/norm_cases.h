// Group normalisation: shapes, inputs, and what the reference makes of them.
#pragma once
#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {

inline std::string describe(const GroupNorm& s) {
  return "n hw c groups silu: " + std::to_string(s.n) + " " + std::to_string(s.hw) + " " +
         std::to_string(s.c) + " " + std::to_string(s.groups) + " " + std::to_string(s.silu);
}

// Inputs with a large mean: a one-pass variance would fail.
template <class T, template <class...> class Array = std::vector>
struct NormCase {
  explicit NormCase(const GroupNorm& s, double offset = 3)
      : x(numbers<T>(s.n * s.hw * s.c, 1)),
        dy(numbers<T>(s.n * s.hw * s.c, 2)),
        gamma(numbers<Wide<T>>(s.c, 3)),
        beta(numbers<Wide<T>>(s.c, 4)) {
    for (T& v : x) v = static_cast<T>(static_cast<double>(v) + offset);
  }
  // The same numbers in another type, or elsewhere.
  template <class U>
  explicit NormCase(const NormCase<U>& other)
      : x(other.x.begin(), other.x.end()),
        dy(other.dy.begin(), other.dy.end()),
        gamma(other.gamma.begin(), other.gamma.end()),
        beta(other.beta.begin(), other.beta.end()) {}
  Array<T> x, dy;
  Array<Wide<T>> gamma, beta;
};

template <class T, template <class> class Array = Guarded>
struct NormResult {
  explicit NormResult(const GroupNorm& s)
      : y(s.n * s.hw * s.c),
        dx(y.size()),
        mean(s.n * s.groups),
        rstd(mean.size()),
        dgamma(s.c),
        dbeta(s.c) {}
  Array<T> y, dx;
  Array<Wide<T>> mean, rstd, dgamma, dbeta;
};

template <class T, class In, class Out>
GroupNormForward<T> forward_of(const GroupNorm& s, const In& in, Out& r) {
  return {.norm = s,
          .x = in.x.data(),
          .gamma = in.gamma.data(),
          .beta = in.beta.data(),
          .y = r.y.data(),
          .mean = r.mean.data(),
          .rstd = r.rstd.data()};
}
template <class T, class In, class Out>
GroupNormBackward<T> backward_of(const GroupNorm& s, const In& in, Out& r) {
  return {.norm = s,
          .x = in.x.data(),
          .gamma = in.gamma.data(),
          .beta = in.beta.data(),
          .mean = r.mean.data(),
          .rstd = r.rstd.data(),
          .dy = in.dy.data(),
          .dx = r.dx.data(),
          .dgamma = r.dgamma.data(),
          .dbeta = r.dbeta.data()};
}

// What reference.h computes from the same numbers, in double.
template <class T>
NormResult<double> reference_of(const GroupNorm& s, const NormCase<T>& in) {
  const NormCase<double> exact(in);
  NormResult<double> r(s);
  reference::group_norm_forward(forward_of<double>(s, exact, r));
  reference::group_norm_backward(backward_of<double>(s, exact, r));
  return r;
}

// All results of a shape. The mean is 3 against a deviation of 0.6, which costs digits: callers give some slack.
template <class Result>
void expect_close(const GroupNorm& s, Result& got, NormResult<double> expected, double slack) {
  expect_close(got.y, expected.y.values(), "y", slack);
  expect_close(got.mean, expected.mean.values(), "mean", slack);
  expect_close(got.rstd, expected.rstd.values(), "rstd", slack);
  expect_close(got.dgamma, expected.dgamma.values(), "dgamma", slack);
  expect_close(got.dbeta, expected.dbeta.values(), "dbeta", slack);
  // Two numbers become ±1 whatever they are: dx is nothing but rounding errors.
  if (s.hw * s.c / s.groups > 2) expect_close(got.dx, expected.dx.values(), "dx", slack);
}

inline std::vector<GroupNorm> norm_shapes() {
  std::vector<GroupNorm> all;
  for (const bool silu : {false, true}) {
    for (const index hw : {1, 2, 5, 49, 196}) {
      for (const index c : {1, 2, 3, 5, 16, 17, 31, 32, 33, 48, 64})
        all.push_back({2, hw, c, 1, 1e-5, silu});
      for (const index n : {1, 3, 9}) {
        all.push_back({n, hw, 48, 8, 1e-5, silu});
        all.push_back({n, hw, 30, 5, 1e-5, silu});
        all.push_back({n, hw, 128, 32, 1e-5, silu});
      }
    }
    all.push_back({70, 9, 8, 2, 1e-5, silu});     // several images per task
    all.push_back({1000, 1, 20, 1, 1e-5, silu});  // layer normalisation
  }
  return all;
}

}  // namespace sfumato::kernels::testing
