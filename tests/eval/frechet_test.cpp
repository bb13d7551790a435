#include "diffusion/eval/frechet.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tensor/rng.h"

namespace sfumato::eval {
namespace {

// Four points whose mean is (x, y) and whose covariance is diag(a², b²).
Tensor cross(float x, float y, float a, float b) {
  const float r = std::sqrt(1.5f);
  return Tensor::from<float>({4, 2}, {x + r * a, y, x - r * a, y, x, y + r * b, x, y - r * b});
}

// With diagonal covariances the distance is Σ (μ_a - μ_b)² + (σ_a - σ_b)².
TEST(FrechetDistance, ClosedForm) {
  EXPECT_NEAR(frechet_distance(cross(0, 0, 1, 2), cross(0, 0, 1, 2)), 0, 1e-6);
  EXPECT_NEAR(frechet_distance(cross(1, 0, 1, 2), cross(-2, 4, 1, 2)), 25, 1e-5);
  EXPECT_NEAR(frechet_distance(cross(0, 0, 1, 2), cross(0, 0, 4, 0.5f)), 9 + 2.25, 1e-5);
}

// Turning both sets by one angle changes nothing: covariances that are not diagonal.
TEST(FrechetDistance, TurnsWithItsSets) {
  const auto turned = [](const Tensor& t) {
    Tensor r(t.shape());
    const float c = std::cos(0.7f), s = std::sin(0.7f);
    for (std::int64_t i = 0; i < t.dim(0); ++i) {
      const float x = t.data<float>()[2 * i], y = t.data<float>()[2 * i + 1];
      r.data<float>()[2 * i] = c * x - s * y;
      r.data<float>()[2 * i + 1] = s * x + c * y;
    }
    return r;
  };
  const Tensor a = cross(1, 2, 1, 3), b = cross(0, -1, 2, 0.25f);
  EXPECT_NEAR(frechet_distance(turned(a), turned(b)), frechet_distance(a, b), 1e-4);
}

// Covariances without full rank, of fewer rows than numbers: a set's distance from itself is 0, from its double
// ‖μ‖² + Tr C, whose value is known from the rows.
TEST(FrechetDistance, FewerRowsThanNumbers) {
  const Tensor a = Rng(1, Purpose::test).normal({5, 40});
  Tensor twice(a.shape());
  double expected = 0;
  for (std::int64_t j = 0; j < 40; ++j) {
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < 5; ++i) {
      const double x = a.data<float>()[i * 40 + j];
      twice.data<float>()[i * 40 + j] = 2 * a.data<float>()[i * 40 + j];
      sum += x;
      squares += x * x;
    }
    expected += sum * sum / 25 + (squares - sum * sum / 5) / 4;
  }
  EXPECT_NEAR(frechet_distance(a, a), 0, 1e-12);
  EXPECT_NEAR(frechet_distance(a, twice), expected, 1e-12 * expected);
}

// Two samples of one distribution come nearer with their size.
TEST(FrechetDistance, ShrinksWithTheSample) {
  const auto of = [](std::int64_t n) {
    return frechet_distance(Rng(1, Purpose::test).normal({n, 8}),
                            Rng(2, Purpose::test).normal({n, 8}));
  };
  EXPECT_GT(of(50), 5 * of(2000));
}

TEST(FrechetDistance, BadInput) {
  EXPECT_THROW(frechet_distance(Tensor::zeros({1, 3}), Tensor::zeros({4, 3})), Error);
  EXPECT_THROW(frechet_distance(Tensor::zeros({4, 2}), Tensor::zeros({4, 3})), Error);
}

}  // namespace
}  // namespace sfumato::eval
