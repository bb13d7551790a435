#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

std::string describe(const GroupNorm& s) {
  return "n hw c groups silu: " + std::to_string(s.n) + " " + std::to_string(s.hw) + " " +
         std::to_string(s.c) + " " + std::to_string(s.groups) + " " + std::to_string(s.silu);
}

// Inputs with a large mean: a one-pass variance would fail.
template <class T>
struct Case {
  explicit Case(const GroupNorm& s, T offset = 3)
      : x(numbers<T>(s.n * s.hw * s.c, 1)),
        dy(numbers<T>(s.n * s.hw * s.c, 2)),
        gamma(numbers<T>(s.c, 3)),
        beta(numbers<T>(s.c, 4)) {
    for (T& v : x) v += offset;
  }
  template <class U>
  explicit Case(const Case<U>& other)
      : x(as_double(other.x)),
        dy(as_double(other.dy)),
        gamma(as_double(other.gamma)),
        beta(as_double(other.beta)) {}
  std::vector<T> x, dy, gamma, beta;
};

template <class T>
struct Result {
  explicit Result(const GroupNorm& s)
      : y(s.n * s.hw * s.c),
        dx(y.size()),
        mean(s.n * s.groups),
        rstd(mean.size()),
        dgamma(s.c),
        dbeta(s.c) {}
  Guarded<T> y, dx, mean, rstd, dgamma, dbeta;
};

template <class T>
GroupNormForward<T> forward_of(const GroupNorm& s, const Case<T>& in, Result<T>& r) {
  return {.norm = s,
          .x = in.x.data(),
          .gamma = in.gamma.data(),
          .beta = in.beta.data(),
          .y = r.y.data(),
          .mean = r.mean.data(),
          .rstd = r.rstd.data()};
}
template <class T>
GroupNormBackward<T> backward_of(const GroupNorm& s, const Case<T>& in, Result<T>& r) {
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

template <class T>
Result<T> run(const GroupNorm& s, const Case<T>& in) {
  Result<T> r(s);
  table<T>().group_norm_forward(forward_of(s, in, r));
  table<T>().group_norm_backward(backward_of(s, in, r));
  // In the place of dy, with something added, which must not change what else comes out.
  Guarded<T> dx(r.dx.size()), dgamma(s.c), dbeta(s.c);
  std::copy(in.dy.begin(), in.dy.end(), dx.data());
  GroupNormBackward<T> again = backward_of(s, in, r);
  again.dy = again.dx = dx.data(), again.add = in.x.data();
  again.dgamma = dgamma.data(), again.dbeta = dbeta.data();
  table<T>().group_norm_backward(again);
  for (index i = 0; i < dx.size(); ++i)
    EXPECT_EQ(dx.data()[i], r.dx.data()[i] + in.x[i]) << "in place, element " << i;
  EXPECT_EQ(dgamma.values(), r.dgamma.values());
  // The same, added in place.
  Guarded<T> sum(r.dx.size());
  std::copy(in.x.begin(), in.x.end(), sum.data());
  again.dy = in.dy.data(), again.dx = sum.data(), again.add = sum.data();
  table<T>().group_norm_backward(again);
  EXPECT_EQ(sum.values(), dx.values());
  return r;
}

// What reference.h computes from the same numbers, in double.
template <class T>
Result<double> reference_of(const GroupNorm& s, const Case<T>& in) {
  const Case<double> exact(in);
  Result<double> r(s);
  reference::group_norm_forward(forward_of(s, exact, r));
  reference::group_norm_backward(backward_of(s, exact, r));
  return r;
}

std::vector<GroupNorm> shapes() {
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
    all.push_back({3000, 1, 20, 1, 1e-5, silu});  // layer normalisation
  }
  return all;
}

TEST(GroupNormKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const GroupNorm& s : shapes()) {
      if (s.hw * s.c / s.groups < 2) continue;  // x - mean = 0: nothing to compare
      SCOPED_TRACE(describe(s));
      const Case<T> in(s);
      Result<double> expected = reference_of(s, in);
      Result<T> got = run(s, in);
      const double slack = 6;  // mean 3 against deviation 0.6, here and in the plain sums above
      expect_close(got.y, expected.y.values(), "y", slack);
      expect_close(got.mean, expected.mean.values(), "mean", slack);
      expect_close(got.rstd, expected.rstd.values(), "rstd", slack);
      expect_close(got.dgamma, expected.dgamma.values(), "dgamma", slack);
      expect_close(got.dbeta, expected.dbeta.values(), "dbeta", slack);
      // Two numbers become ±1 whatever they are: dx is nothing but rounding errors.
      if (s.hw * s.c / s.groups > 2) expect_close(got.dx, expected.dx.values(), "dx", slack);
    }
  });
}

TEST(GroupNormKernel, LargeMeanSmallDeviation) {
  for_every_isa([]<class T>() {
    const GroupNorm s{2, 784, 32, 8, 1e-5, true};
    Case<T> in(s, T{1000});
    Result<double> expected = reference_of(s, in);
    Result<T> got = run(s, in);
    // x itself carries a relative error of 1e-7 * 1000; the reference starts from the rounded x.
    EXPECT_LT(distance(got.y.data(), expected.y.values()), by_type<T>(1e-4, 1e-11));
    EXPECT_LT(distance(got.rstd.data(), expected.rstd.values()), by_type<T>(1e-5, 1e-12));
  });
}

TEST(GroupNormKernel, ConstantImage) {
  for_every_isa([]<class T>() {
    const GroupNorm s{2, 49, 16, 4, 1e-5, false};
    Case<T> in(s);
    for (T& x : in.x) x = 5;
    Result<T> got = run(s, in);
    for (index i = 0; i < got.y.size(); ++i)
      ASSERT_NEAR(static_cast<double>(got.y.data()[i]), static_cast<double>(in.beta[i % s.c]),
                  1e-3);
  });
}

TEST(GroupNormKernel, SameBitsOnAnyNumberOfThreads) {
  for_every_isa([]<class T>() {
    for (const GroupNorm& s :
         {GroupNorm{1, 196, 96, 8, 1e-5, true}, GroupNorm{70, 49, 33, 3, 1e-5, true}}) {
      const Case<T> in(s);
      expect_same_on_any_threads([&] {
        Result<T> r = run(s, in);
        std::vector<T> all;
        append(all, r.y), append(all, r.dx), append(all, r.dgamma), append(all, r.dbeta);
        return all;
      });
    }
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
