#include "diffusion/gaussian.h"

#include <numbers>

#include "diffusion/forward.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;
using testing::times;

const std::vector<Gaussian> kTwoModes = {{.weight = 3, .mean = {-0.6}, .covariance = {0.01}},
                                         {.weight = 7, .mean = {0.7}, .covariance = {0.04}}};
const std::vector<Gaussian> kPlane = {
    {.weight = 0.4, .mean = {-1, 0.5}, .covariance = {0.5, 0.3, 0.3, 0.4}},
    {.weight = 0.6, .mean = {1, 0}, .covariance = {0.2, 0.1}}};

double normal_density(double x, double mean, double variance) {
  return std::exp(-(x - mean) * (x - mean) / (2 * variance)) /
         std::sqrt(2 * std::numbers::pi * variance);
}

TEST(ExactDenoiser, IsTheConditionalMeanOfTheNoise) {
  for (const double bar : {0.999, 0.7, 0.01})
    for (const double xt : {-2.0, -0.1, 0.0, 0.4, 1.5}) {
      double mass = 0, sum = 0;  // over x_0, on a grid
      for (double x0 = -3; x0 <= 3; x0 += 1e-4) {
        double p = normal_density(xt, std::sqrt(bar) * x0, 1 - bar);
        p *= 3 * normal_density(x0, -0.6, 0.01) + 7 * normal_density(x0, 0.7, 0.04);
        mass += p;
        sum += p * (xt - std::sqrt(bar) * x0) / std::sqrt(1 - bar);
      }
      EXPECT_NEAR(expected_eps(kTwoModes, variance_preserving(bar), f64({1}, {xt})).item(),
                  sum / mass, 1e-9);
    }
}

// Tweedie's formula (Robbins 1956; Vincent 2011 for denoisers): E[ε | x_t] = −√(1−ᾱ) ∇ log p(x_t).
TEST(Tweedie, TheBestDenoiserIsTheScore) {
  const double bar = 0.6;
  const auto log_density = [&](double x, double y) {  // of x_t, for the mixture kPlane
    double p = 0;
    for (const Gaussian& g : kPlane) {
      const bool full = g.covariance.size() == 4;
      const double a = bar * g.covariance[0] + 1 - bar;
      const double d = bar * g.covariance[full ? 3 : 1] + 1 - bar;
      const double b = full ? bar * g.covariance[1] : 0;
      const double u = x - std::sqrt(bar) * g.mean[0], v = y - std::sqrt(bar) * g.mean[1];
      const double det = a * d - b * b;
      p += g.weight * std::exp(-(d * u * u - 2 * b * u * v + a * v * v) / (2 * det)) /
           std::sqrt(det);
    }
    return std::log(p);
  };
  const double h = 1e-5;
  for (const double x : {-1.5, 0.0, 0.8})
    for (const double y : {-1.0, 0.3}) {
      const Tensor eps = expected_eps(kPlane, variance_preserving(bar), f64({1, 2}, {x, y}));
      const double dx = (log_density(x + h, y) - log_density(x - h, y)) / (2 * h);
      const double dy = (log_density(x, y + h) - log_density(x, y - h)) / (2 * h);
      EXPECT_NEAR(eps.data<double>()[0], -std::sqrt(1 - bar) * dx, 1e-8);
      EXPECT_NEAR(eps.data<double>()[1], -std::sqrt(1 - bar) * dy, 1e-8);
    }
}

TEST(ExactDenoiser, AnswersInEveryKindAndForBothDtypes) {
  const Schedule s = Schedule::linear();
  const Tensor xt = Rng(1, Purpose::test).normal({5, 1, 2, 1}, DType::f64);
  const Tensor t = times(5, 400);
  const Tensor eps = expected_eps(kPlane, s.level(400), xt);
  for (const Prediction* kind : Prediction::all) {
    const Denoiser denoiser = exact_denoiser(s, kPlane, *kind);
    EXPECT_LT(max_difference(to_eps(*kind, s, denoiser(xt, 400), xt, t), eps), 1e-12);
    const Tensor single = denoiser(xt.to(DType::f32), 400);
    EXPECT_EQ(single.dtype(), DType::f32);
    EXPECT_LT(max_difference(single, denoiser(xt, 400)), 1e-4);
  }
}

TEST(ExactDenoiser, StaysFiniteFarFromTheData) {
  const Tensor eps = expected_eps(kTwoModes, variance_preserving(0.999), f64({2}, {-1e3, 1e3}));
  for (const double v : eps.values<double>()) EXPECT_TRUE(std::isfinite(v));
}

}  // namespace
}  // namespace sfumato::diffusion
