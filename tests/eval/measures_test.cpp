// The distances of diffusion/eval against plain loops in float64 and closed forms.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "diffusion/eval/kid.h"
#include "diffusion/eval/manifold.h"
#include "diffusion/eval/metric.h"
#include "diffusion/eval/sliced.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace sfumato::eval {
namespace {

Tensor normal(std::uint64_t set, std::int64_t n, std::int64_t d, double shift = 0,
              double scale = 1) {
  Tensor x = Rng(7, Purpose::test, set).normal({n, d});
  for (std::int64_t i = 0; i < x.size(); ++i)
    x.data<float>()[i] = static_cast<float>(shift + scale * x.data<float>()[i]);
  return x;
}

double product(const Tensor& a, std::int64_t i, const Tensor& b, std::int64_t j) {
  double sum = 0;
  const std::int64_t d = a.dim(1);
  for (std::int64_t k = 0; k < d; ++k)
    sum += static_cast<double>(a.data<float>()[i * d + k]) * b.data<float>()[j * d + k];
  return sum;
}

double squared(const Tensor& a, std::int64_t i, const Tensor& b, std::int64_t j) {
  return product(a, i, a, i) + product(b, j, b, j) - 2 * product(a, i, b, j);
}

// The equation, a loop for each sum.
double plain_kid(const Tensor& x, const Tensor& y) {
  const auto mean = [](const Tensor& a, const Tensor& b, bool same) {
    double sum = 0, count = 0;
    for (std::int64_t i = 0; i < a.dim(0); ++i) {
      for (std::int64_t j = 0; j < b.dim(0); ++j) {
        if (same && i == j) continue;
        sum += std::pow(product(a, i, b, j) / static_cast<double>(a.dim(1)) + 1, 3);
        ++count;
      }
    }
    return sum / count;
  };
  return mean(x, x, true) + mean(y, y, true) - 2 * mean(x, y, false);
}

Tensor rows_of(const Tensor& x, const Weights& weights) {
  Tensor rows(x.shape());
  std::int64_t to = 0;
  for (std::int64_t i = 0; i < x.dim(0); ++i)
    for (double k = 0; k < weights[static_cast<std::size_t>(i)]; ++k, ++to)
      rows.slice(to, to + 1).copy_from(x.slice(i, i + 1));
  return rows;
}

TEST(Kid, IsTheEquation) {
  const Tensor x = normal(1, 70, 6, 0.2, 1.3), y = normal(2, 90, 6);
  const Kid kid(y);
  EXPECT_NEAR(kid(x, 0).value, plain_kid(x, y), 1e-12);
  EXPECT_THROW(kid(normal(1, 1, 6)), Error);
  EXPECT_THROW(kid(normal(1, 70, 5)), Error);
}

// A resample is the set of its rows, but pairs of one draw with itself do not count.
TEST(Kid, AResampleIsTheDistanceOfItsRows) {
  const Tensor x = normal(1, 25, 6, 0.2, 1.3), y = normal(2, 30, 6);
  std::vector<double> distances;
  for (std::int64_t r = 1; r <= 20; ++r)
    distances.push_back(plain_kid(rows_of(x, resample_weights(25, r)), y));
  const Estimate want = around(plain_kid(x, y), distances), got = Kid(y)(x, 20);
  EXPECT_NEAR(got.low, want.low, 1e-12);
  EXPECT_NEAR(got.high, want.high, 1e-12);
}

// Without bias: over many sets of one distribution the mean is 0.
TEST(Kid, HasNoBias) {
  double sum = 0, squares = 0;
  constexpr int kSets = 300;
  for (std::uint64_t s = 0; s < kSets; ++s) {
    const double v = Kid(normal(2 * s, 20, 3))(normal(2 * s + 1, 15, 3), 0).value;
    sum += v / kSets;
    squares += v * v / kSets;
  }
  EXPECT_LT(std::abs(sum), 3 * std::sqrt(squares / kSets));
}

// The quantile functions of n and m values are steps, which change at k / n and k / m: exact at each of n m steps.
double plain_line(std::vector<double> x, std::vector<double> y) {
  std::sort(x.begin(), x.end());
  std::sort(y.begin(), y.end());
  const std::size_t steps = x.size() * y.size();
  double sum = 0;
  for (std::size_t s = 0; s < steps; ++s)
    sum += std::pow(x[s / y.size()] - y[s / x.size()], 2) / static_cast<double>(steps);
  return sum;
}

// In one dimension every direction is 1 or −1.
TEST(SlicedWasserstein, OnALineIsTransportInOrder) {
  const Tensor x = normal(1, 14, 1, 0.4, 1.5), y = normal(2, 35, 1);
  const auto values = [](const Tensor& t) {
    return std::vector<double>(t.data<float>(), t.data<float>() + t.dim(0));
  };
  EXPECT_NEAR(SlicedWasserstein(y)(x, 0).value, plain_line(values(x), values(y)), 1e-12);
  std::vector<double> distances;
  for (std::int64_t r = 0; r < 20; ++r)
    distances.push_back(plain_line(values(rows_of(x, resample_weights(14, r))), values(y)));
  const Estimate want = around(plain_line(values(x), values(y)), distances),
                 got = SlicedWasserstein(y)(x, 20);
  EXPECT_NEAR(got.low, want.low, 1e-12);
  EXPECT_NEAR(got.high, want.high, 1e-12);
}

// A shift by v of the same points: the mean of (uᵀv)² is ‖v‖² / D.
TEST(SlicedWasserstein, OfAShift) {
  const Tensor y = normal(3, 50, 5);
  Tensor x(y.shape());
  for (std::int64_t i = 0; i < y.size(); ++i) x.data<float>()[i] = y.data<float>()[i] + 2;
  EXPECT_NEAR(SlicedWasserstein(y)(x, 0).value, 4, 0.6);  // ‖v‖² = 20; 128 directions
  EXPECT_NEAR(SlicedWasserstein(y)(y, 0).value, 0, 1e-12);
}

struct Plain {
  double precision = 0, recall = 0, density = 0, coverage = 0;
};

// As the papers' reference code (clovaai/prdc), by sorting all distances.
Plain plain_manifold(const Tensor& drawn, const Tensor& real) {
  const auto radius = [](const Tensor& x, std::int64_t i, std::int64_t k) {
    std::vector<double> squares;
    for (std::int64_t j = 0; j < x.dim(0); ++j)
      if (j != i) squares.push_back(squared(x, i, x, j));
    std::sort(squares.begin(), squares.end());
    return squares[static_cast<std::size_t>(k - 1)];
  };
  const std::int64_t n = drawn.dim(0), m = real.dim(0);
  Plain p;
  for (std::int64_t j = 0; j < n; ++j) {
    bool inside = false;
    for (std::int64_t i = 0; i < m; ++i) {
      inside = inside || squared(drawn, j, real, i) < radius(real, i, 3);
      p.density += (squared(drawn, j, real, i) < radius(real, i, 5)) / (5.0 * n);
    }
    p.precision += inside * 100.0 / n;
  }
  for (std::int64_t i = 0; i < m; ++i) {
    bool inside = false, covered = false;
    for (std::int64_t j = 0; j < n; ++j) {
      inside = inside || squared(drawn, j, real, i) < radius(drawn, j, 3);
      covered = covered || squared(drawn, j, real, i) < radius(real, i, 5);
    }
    p.recall += inside * 100.0 / m;
    p.coverage += covered * 100.0 / m;
  }
  return p;
}

TEST(Manifold, AgreesWithPlainLoops) {
  const Tensor real = normal(1, 60, 4), drawn = normal(2, 50, 4, 1.5, 0.7);
  const Plain want = plain_manifold(drawn, real);
  EXPECT_NEAR(precision(drawn, real).value, want.precision, 1e-9);
  EXPECT_NEAR(recall(drawn, real).value, want.recall, 1e-9);
  EXPECT_NEAR(density(drawn, real, 0).value, want.density, 1e-12);
  EXPECT_NEAR(coverage(drawn, real).value, want.coverage, 1e-9);
  for (const double share : {want.precision, want.recall, want.coverage}) {
    EXPECT_GT(share, 0);
    EXPECT_LT(share, 100);
  }
  EXPECT_THROW(precision(drawn, normal(1, 3, 4)), Error);
  EXPECT_THROW(coverage(drawn, normal(1, 60, 3)), Error);
}

// Pictures of one kind only look real and cover little: precision is high, recall and coverage low.
TEST(Manifold, ACollapsedModelHasPrecisionWithoutRecall) {
  const Tensor real = normal(1, 200, 4), drawn = normal(2, 200, 4, 0, 0.1);
  EXPECT_GT(precision(drawn, real).value, 99);
  EXPECT_LT(recall(drawn, real).value, 10);
  EXPECT_LT(coverage(drawn, real).value, 40);
}

// What is said of equal sets: no distance, and all shares full.
TEST(Metrics, OfTheRealPicturesThemselves) {
  const Tensor x = normal(1, 40, 6);
  const Real real{x, x, Tensor::zeros({4, 2, 2, 1}, DType::u8)};
  const Judged set{Tensor::zeros({40, 2, 2, 1}, DType::u8),
                   {x, std::vector<std::int64_t>(40, 1)},
                   std::vector<std::int64_t>(40, 1)};
  for (const Metric* metric : Metric::all) {
    const Estimate e = metric->against(real)(set, 50);
    if (metric == &Metric::kid) {
      EXPECT_LT(e.value, 0);  // each picture is there among the real ones
    } else if (metric == &Metric::copied || metric->of_floor) {
      EXPECT_NEAR(e.value, 0, 1e-9) << metric->name;  // no copies: equally far from several
    } else if (metric->unit == "%") {
      EXPECT_EQ(e.value, 100) << metric->name;
    }
    EXPECT_LE(e.low, e.value + 1e-9) << metric->name;
    EXPECT_GE(e.high, e.value - 1e-9) << metric->name;
  }
}

}  // namespace
}  // namespace sfumato::eval
