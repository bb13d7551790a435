// The probability flow's likelihood on Gaussian data, whose density is known, beside the variational bound.
#include "diffusion/likelihood.h"

#include <cmath>
#include <numbers>

#include "autograd/ops.h"
#include "diffusion/bound.h"
#include "diffusion/forward.h"
#include "diffusion/gaussian.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;

// Data N(μ, Σ) in the plane, of nearly mean 0, as the noise that the flow is taken to end in; Σ = [[0.09, 0.03], [0.03, 0.05]].
constexpr double kMeans[2] = {0.03, -0.02}, kA = 0.09, kB = 0.03, kD = 0.05;

// ε̂ = σ (a² Σ + σ²)⁻¹ (x − a μ), through which gradients pass; x0 and v likewise.
DifferentiableDenoiser exact(const Schedule& s, const Prediction& prediction) {
  return [&s, &prediction](const Var& x, double time) {
    const NoiseLevel level = s.level_told(time);
    const double a = level.signal(), sigma = level.noise(), a2 = a * a;
    const double p = a2 * kA + sigma * sigma, q = a2 * kB, r = a2 * kD + sigma * sigma;
    const double det = p * r - q * q;
    const Var inverse(f64({2, 2}, {r / det, -q / det, -q / det, p / det}));
    const Var eps = matmul(x - Var(f64({1, 2}, {a * kMeans[0], a * kMeans[1]})), inverse) * sigma;
    if (prediction == Prediction::eps) return eps;
    const Var x0 = (x - eps * sigma) * (1 / a);
    return prediction == Prediction::x0 ? x0 : eps * a - x0 * sigma;  // v
  };
}

double log_density(double x, double y, double added) {
  const double p = kA + added, r = kD + added, det = p * r - kB * kB;
  const double u = x - kMeans[0], v = y - kMeans[1];
  return -(r * u * u - 2 * kB * u * v + p * v * v) / (2 * det) -
         std::log(2 * std::numbers::pi * std::sqrt(det));
}

const Tensor kPoints = f64({3, 2}, {0.3, -0.2, 0.6, 0.1, -0.1, -0.5});

TEST(Likelihood, OfAGaussianIsItsDensity) {
  for (const BetaSchedule* row :
       {&BetaSchedule::linear, &BetaSchedule::flow, &BetaSchedule::karras})
    for (const Prediction* prediction : {&Prediction::eps, &Prediction::x0, &Prediction::v}) {
      const Schedule s = Schedule::make(*row, 1000, 1e-4, 0.02);
      const auto got = log_likelihood(s, *prediction, exact(s, *prediction), kPoints,
                                      {.steps = 100, .exact_trace = true});
      const double first = s.level(0).sigma();
      for (std::int64_t i = 0; i < 3; ++i) {
        const double x = kPoints.data<double>()[2 * i], y = kPoints.data<double>()[2 * i + 1];
        const double bits = std::numbers::ln2 * 2;  // nats of a bit for each of two numbers
        EXPECT_NEAR(got[static_cast<std::size_t>(i)] / bits,
                    log_density(x, y, first * first) / bits, 1e-3)
            << row->name << " " << prediction->name;
      }
    }
}

// Hutchinson's estimate has the trace as its mean.
TEST(Likelihood, ByRandomSignsIsRightOnAverage) {
  const Schedule s = Schedule::linear();
  constexpr std::int64_t n = 400;
  Tensor points({n, 2}, DType::f64);
  for (std::int64_t i = 0; i < n; ++i)
    points.data<double>()[2 * i] = 0.6, points.data<double>()[2 * i + 1] = 0.1;
  const auto got =
      log_likelihood(s, Prediction::eps, exact(s, Prediction::eps), points, {.steps = 50});
  const auto want = log_likelihood(s, Prediction::eps, exact(s, Prediction::eps),
                                   points.slice(0, 1), {.steps = 50, .exact_trace = true});
  double mean = 0, square = 0;
  for (const double l : got) mean += l / n, square += l * l / n;
  const double deviation = std::sqrt(square - mean * mean);
  EXPECT_GT(deviation, 0.01);
  EXPECT_NEAR(mean, want[0], testing::kTwoSided * deviation / std::sqrt(n));
}

// In bits: the flow's likelihood, and above it the bound, on the same points.
TEST(Likelihood, LiesBelowTheBound) {
  const Schedule s = Schedule::linear();
  const Tensor z = Rng(5).normal({500, 2}, DType::f64);
  Tensor points({500, 2}, DType::f64);
  const double l11 = std::sqrt(kA), l21 = kB / l11, l22 = std::sqrt(kD - l21 * l21);
  for (std::int64_t i = 0; i < 500; ++i) {
    const double* u = z.data<double>() + 2 * i;
    points.data<double>()[2 * i] = kMeans[0] + l11 * u[0];
    points.data<double>()[2 * i + 1] = kMeans[1] + l21 * u[0] + l22 * u[1];
  }
  double bits = 0;
  for (const double l : log_likelihood(s, Prediction::eps, exact(s, Prediction::eps), points,
                                       {.steps = 100, .exact_trace = true}))
    bits -= l / (500 * 2 * std::numbers::ln2);
  const DifferentiableDenoiser network = exact(s, Prediction::eps);
  const Denoiser denoiser = [&](const Tensor& x, double t) { return network(Var(x), t).value(); };
  const double bound =
      variational_bound(s, Prediction::eps, denoiser, points, {.last_step = LastStep::density})
          .total();
  EXPECT_GT(bound, bits);
  EXPECT_LT(bound, bits + 1);  // the first timesteps are coarse
}

TEST(Likelihood, OfPixelsCountsTheirWidth) {
  // A uniform density on [-1, 1] gives each of its 255 widths of a value the same probability.
  EXPECT_NEAR(bits_per_number(-7 * std::log(2.0), 7), std::log2(255), 1e-12);
  const Tensor x = Tensor::full({1000}, 0.5), noisy = dequantised(x, 3);
  double lowest = 1, highest = -1;
  for (const float v : noisy.values<float>())
    lowest = std::min<double>(lowest, v), highest = std::max<double>(highest, v);
  EXPECT_NEAR(lowest, 0.5 - 1.0 / 255, 1e-4);
  EXPECT_NEAR(highest, 0.5 + 1.0 / 255, 1e-4);
}

TEST(Likelihood, BadInput) {
  const Schedule s = Schedule::linear();
  EXPECT_THROW(log_likelihood(s, Prediction::eps, exact(s, Prediction::eps), kPoints, {.steps = 0}),
               Error);
  EXPECT_THROW(log_likelihood(
                   s, Prediction::eps, [](const Var& x, double) { return sum(x); }, kPoints),
               Error);
}

}  // namespace
}  // namespace sfumato::diffusion
