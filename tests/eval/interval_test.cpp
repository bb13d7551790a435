#include "diffusion/eval/interval.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "diffusion/eval/eigenvalues.h"
#include "diffusion/eval/frechet.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace sfumato::eval {
namespace {

// Values of statsmodels' proportion_confint(method="wilson").
TEST(Share, WilsonsInterval) {
  const Estimate all = share(1000, 1000);
  EXPECT_EQ(all.value, 100);
  EXPECT_NEAR(all.low, 99.6173, 1e-3);
  EXPECT_NEAR(all.high, 100, 1e-9);
  const Estimate some = share(8, 10);
  EXPECT_NEAR(some.low, 49.0162, 1e-3);
  EXPECT_NEAR(some.high, 94.3318, 1e-3);
  EXPECT_NEAR(share(0, 10).low, 0, 1e-12);
  EXPECT_NEAR(share(0, 10).high, 27.7533, 1e-3);
  EXPECT_THROW(share(0, 0), Error);
}

TEST(Bootstrap, WeightsCountDrawsWithReplacement) {
  double squares = 0;
  for (std::int64_t r = 0; r < 200; ++r) {
    const Weights w = resample_weights(50, r);
    EXPECT_EQ(std::accumulate(w.begin(), w.end(), 0.0), 50);
    for (const double v : w) squares += (v - 1) * (v - 1);
  }
  EXPECT_NEAR(squares / (200 * 50), 1 - 1.0 / 50, 0.05);  // the binomial's variance
  EXPECT_EQ(resample_weights(50, 3), resample_weights(50, 3));
  EXPECT_NE(resample_weights(50, 3), resample_weights(50, 4));
}

// The mean's interval is that of the normal distribution: ± 1.96 σ / √n.
TEST(Bootstrap, IntervalOfAMean) {
  const std::int64_t n = 400;
  const Tensor x = Rng(1, Purpose::test).normal({n}, DType::f64);
  const auto mean = [&](const Weights& w) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i)
      sum += w[static_cast<std::size_t>(i)] * x.data<double>()[i];
    return sum / static_cast<double>(n);
  };
  const double value = mean(Weights(n, 1));
  double squares = 0;
  for (const double v : x.values<double>()) squares += (v - value) * (v - value);
  const double half = 1.96 * std::sqrt(squares) / static_cast<double>(n);
  const Estimate e = bootstrap(value, n, 4000, mean);
  EXPECT_NEAR(e.low, value - half, 0.1 * half);
  EXPECT_NEAR(e.high, value + half, 0.1 * half);
  EXPECT_TRUE(std::isnan(bootstrap(value, n, 0, mean).low));
}

// Of resamples that all measure too much by 5, with a long tail above: the tail is below the interval's value.
TEST(Bootstrap, ABiasDoesNotMoveTheInterval) {
  const Estimate e = around(1, {5, 5, 5, 5, 10});
  EXPECT_NEAR(e.low, 1 - (9.5 - 6), 1e-12);
  EXPECT_NEAR(e.high, 1 - (5 - 6), 1e-12);
}

// The second difference's eigenvalues are 2 − 2 cos(π k / (n + 1)).
TEST(Eigenvalues, OfTheSecondDifference) {
  constexpr std::size_t n = 20;
  Vectors a(n, Vector(n));
  for (std::size_t i = 0; i < n; ++i) {
    a[i][i] = 2;
    if (i + 1 < n) a[i][i + 1] = a[i + 1][i] = -1;
  }
  Vector found = eigenvalues(a);
  std::sort(found.begin(), found.end());
  for (std::size_t k = 0; k < n; ++k)
    EXPECT_NEAR(found[k], 2 - 2 * std::cos(std::numbers::pi * static_cast<double>(k + 1) / (n + 1)),
                1e-14);
}

// A full matrix with eigenvalues 0, 0, ..., 1, 4, 9, turned by a reflection.
TEST(Eigenvalues, OfAMatrixWithoutFullRank) {
  constexpr std::size_t n = 12;
  const Tensor u = Rng(5, Purpose::test).normal({n}, DType::f64);
  const double* v = u.data<double>();
  double vv = 0;
  for (std::size_t i = 0; i < n; ++i) vv += v[i] * v[i];
  const auto h = [&](std::size_t i, std::size_t j) { return (i == j) - 2 * v[i] * v[j] / vv; };
  Vectors a(n, Vector(n));
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t k = 0; k < 3; ++k)
        a[i][j] += h(i, k) * static_cast<double>((k + 1) * (k + 1)) * h(j, k);
  Vector found = eigenvalues(a);
  std::sort(found.begin(), found.end());
  for (std::size_t k = 0; k < n; ++k)
    EXPECT_NEAR(found[k], k < 9 ? 0 : (k - 8.0) * (k - 8.0), 1e-13) << k;
}

// Sets of `n` points whose numbers have these means and standard deviations; a set is a function of `set`.
Tensor points(std::uint64_t set, std::int64_t n, double shift, double scale) {
  Tensor x = Rng(2, Purpose::test, set).normal({n, 4});
  for (std::int64_t i = 0; i < x.size(); ++i)
    x.data<float>()[i] = static_cast<float>(shift + scale * x.data<float>()[i]);
  return x;
}

struct Coverage {
  double share,
      width;  // intervals that hold the mean; mean width over 2 · 1.96 standard deviations
};
Coverage covered(double shift, double scale) {
  constexpr std::int64_t kSets = 300, kPoints = 80;
  const Tensor real = points(1000, 400, 0, 1);
  std::vector<Estimate> found;
  double mean = 0, squares = 0;
  for (std::uint64_t set = 0; set < kSets; ++set) {
    found.push_back(frechet_estimate(points(set, kPoints, shift, scale), real, 200));
    mean += found.back().value / kSets;
  }
  Coverage c{0, 0};
  for (const Estimate& e : found) {
    squares += (e.value - mean) * (e.value - mean) / kSets;
    c.share += (e.low <= mean && mean <= e.high) / static_cast<double>(kSets);
    c.width += (e.high - e.low) / kSets;
  }
  c.width /= 2 * 1.96 * std::sqrt(squares);
  return c;
}

// 95 in 100 intervals hold what the distance is on average at this count, when the sets differ; more, and wider ones, when
// they do not.
TEST(FrechetDistance, IntervalsCoverTheMean) {
  const Coverage far = covered(0.5, 1.3);
  EXPECT_GT(far.share, 0.90);
  EXPECT_LT(far.share, 0.99);
  EXPECT_NEAR(far.width, 1, 0.2);
  const Coverage same = covered(0, 1);
  EXPECT_GT(same.share, 0.95);
  EXPECT_GT(same.width, 1);
  EXPECT_LT(same.width, std::sqrt(3) * 1.2);
}

// A resample is the distance of the set that it stands for.
TEST(FrechetDistance, AResampleIsTheDistanceOfItsRows) {
  const std::int64_t n = 30;
  const Tensor a = points(1, n, 0.3, 1.2), b = points(2, 50, 0, 1);
  std::vector<double> distances;
  for (std::int64_t r = 0; r < 40; ++r) {
    Tensor rows({n, 4});
    std::int64_t to = 0;
    const Weights w = resample_weights(n, r);
    for (std::int64_t i = 0; i < n; ++i)
      for (double k = 0; k < w[static_cast<std::size_t>(i)]; ++k, ++to)
        rows.slice(to, to + 1).copy_from(a.slice(i, i + 1));
    distances.push_back(frechet_distance(rows, b));
  }
  const Estimate want = around(frechet_distance(a, b), distances), got = frechet_estimate(a, b, 40);
  EXPECT_EQ(got.value, want.value);
  EXPECT_NEAR(got.low, want.low, 1e-9);
  EXPECT_NEAR(got.high, want.high, 1e-9);
}

}  // namespace
}  // namespace sfumato::eval
