// The variational bound, on data whose likelihood is known.
#include "diffusion/bound.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "diffusion/gaussian.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace sfumato::diffusion {
namespace {

constexpr double kMean = 0.3, kVariance = 0.25;

Tensor gaussian_data(std::int64_t n) {
  Tensor x = Rng(1, Purpose::test).normal({n, 2}, DType::f64);
  for (double& v : x.values<double>()) v = kMean + std::sqrt(kVariance) * v;
  return x;
}

// −log₂ p(x) a number.
double exact_bits(const Tensor& x) {
  double nats = 0;
  for (const double v : x.values<double>())
    nats += 0.5 * (std::pow(v - kMean, 2) / kVariance + std::log(2 * std::numbers::pi * kVariance));
  return nats / static_cast<double>(x.size()) / std::numbers::ln2;
}

VariationalBound bound_with(std::int64_t steps, const Prediction& prediction,
                            std::int64_t stride = 1) {
  const Schedule schedule = Schedule::even_log_snr(steps);
  const std::vector<Gaussian> data = {{1, {kMean, kMean}, {kVariance, kVariance}}};
  return variational_bound(schedule, prediction, exact_denoiser(schedule, data, prediction),
                           gaussian_data(2000), {.last_step = LastStep::density, .stride = stride});
}

// With the best denoiser the bound lies above the exact value, and comes to it as T grows. A step costs
// ½ (r − 1 − log r) nats too much where there is little noise, r = SNR(t−1) / SNR(t): in all about (Δ log-SNR)² / 4T.
TEST(VariationalBound, ComesToTheExactLikelihoodOfGaussianData) {
  const double exact = exact_bits(gaussian_data(2000));
  const double gap = bound_with(100, Prediction::v).total() - exact;
  EXPECT_GT(gap, 0.2);
  EXPECT_NEAR(bound_with(1000, Prediction::v).total() - exact, gap / 10, 0.03);
}

TEST(VariationalBound, DoesNotDependOnWhatTheNetworkPredicts) {
  EXPECT_NEAR(bound_with(100, Prediction::v).total(), bound_with(100, Prediction::eps).total(),
              1e-6);
  EXPECT_NEAR(bound_with(1000, Prediction::v).total(), bound_with(1000, Prediction::v, 8).total(),
              0.02);
}

TEST(VariationalBound, TermsAddUp) {
  const VariationalBound b = bound_with(100, Prediction::x0);
  EXPECT_NEAR(b.prior + b.bits(1, 40) + b.bits(40, 100) + b.last_step, b.total(), 1e-9);
  EXPECT_EQ(b.between.size(), 99u);
  EXPECT_GT(b.prior, 0);
  EXPECT_LT(b.prior, 1e-3);
}

// A network that knows the pictures pays for the last step alone: the bins of 256 values, narrower than σ = √β_0 or not.
TEST(VariationalBound, ThePixelsOfAPerfectNetwork) {
  const Schedule schedule = Schedule::cosine(100);
  const Tensor x = Tensor::from<double>({1, 3}, {-1, 51 / 127.5 - 1, 1});
  const Denoiser perfect = [&](const Tensor&, double) { return x; };
  const VariationalBound b = variational_bound(schedule, Prediction::x0, perfect, x);
  EXPECT_EQ(b.bits(1, 100), 0);
  const double z = 1 / 255.0 / std::sqrt(schedule.beta[0]);
  const double inner = std::erf(z / std::numbers::sqrt2), outer = 0.5 + inner / 2;
  EXPECT_NEAR(b.last_step, -(std::log2(inner) + 2 * std::log2(outer)) / 3, 1e-9);
  EXPECT_THROW(variational_bound(schedule, Prediction::x0, perfect, x, {.stride = 0}), Error);
}

}  // namespace
}  // namespace sfumato::diffusion
