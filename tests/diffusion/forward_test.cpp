#include "diffusion/forward.h"

#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::chi_square_quantile;
using testing::expect_normal_moments;
using testing::f64;
using testing::kOneSided;
using testing::max_difference;
using testing::moments;
using testing::normal_cdf;
using testing::times;

// A picture of one pixel: x_t as a function of x and eps.
double one_step(const Schedule& s, double x, std::int64_t t, double eps) {
  return q_step(s, f64({1}, {x}), times(1, t), f64({1}, {eps})).item();
}
double merged(const Schedule& s, double x0, std::int64_t t, double eps) {
  return q_sample(s, f64({1}, {x0}), times(1, t), f64({1}, {eps})).item();
}

TEST(Ddpm, Equation2OneStepShrinksAndAddsNoise) {
  const Schedule s = Schedule::linear();
  for (const std::int64_t t : {0, 1, 500, 999}) {
    const double beta = s.beta[static_cast<std::size_t>(t)];
    EXPECT_NEAR(one_step(s, 2, t, 0), 2 * std::sqrt(1 - beta), 1e-14);
    EXPECT_NEAR(one_step(s, 0, t, 3), 3 * std::sqrt(beta), 1e-14);
    // Data of variance 1 keep it.
    EXPECT_NEAR(std::pow(one_step(s, 1, t, 0), 2) + std::pow(one_step(s, 0, t, 1), 2), 1, 1e-14);
  }
}

// The mean and the variance that the chain of q_step gives to x_t, followed exactly.
TEST(Ddpm, Equation4IsTheChainOfEquation2) {
  for (const Schedule& s : {Schedule::linear(), Schedule::cosine(), Schedule::scaled_linear()}) {
    double mean = 1, variance = 0;
    for (std::int64_t t = 0; t < s.steps(); ++t) {
      mean = one_step(s, mean, t, 0);
      const double shrink = one_step(s, 1, t, 0), noise = one_step(s, 0, t, 1);
      variance = shrink * shrink * variance + noise * noise;
      ASSERT_NEAR(merged(s, 1, t, 0), mean, 1e-12) << t;
      ASSERT_NEAR(std::pow(merged(s, 0, t, 1), 2), variance, 1e-12) << t;
      ASSERT_NEAR(merged(s, 3, t, -2), 3 * merged(s, 1, t, 0) - 2 * merged(s, 0, t, 1), 1e-12);
    }
  }
}

// The same with random numbers: 40,000 chains must be distributed as eq. 4 says. Three tests (mean,
// variance, shape), each wrong about a correct program once in a million seeds.
TEST(Ddpm, Equation4IsTheDistributionOfManySteps) {
  const Schedule s = Schedule::linear(50, 0.001, 0.2);
  constexpr std::int64_t kChains = 40000;
  constexpr double kStart = 1.5;
  Tensor x = Tensor::full({kChains, 1}, kStart);
  for (std::int64_t t = 0; t < s.steps(); ++t)
    x = q_step(s, x, times(kChains, t), Rng(7, Purpose::test, t).normal(x.shape()));
  const double alpha_bar = s.alpha_bar_at(49);
  const double mean = std::sqrt(alpha_bar) * kStart, sigma = std::sqrt(1 - alpha_bar);
  expect_normal_moments(moments(x), {mean, sigma * sigma}, kChains);

  constexpr int kBins = 64;  // of equal probability, so 625 expected in each
  std::vector<double> count(kBins);
  for (const float v : x.values<float>())
    ++count[static_cast<std::size_t>(
        std::min(kBins - 1.0, kBins * normal_cdf((v - mean) / sigma)))];
  double chi_square = 0;
  const double expected = static_cast<double>(kChains) / kBins;
  for (const double c : count) chi_square += (c - expected) * (c - expected) / expected;
  EXPECT_LT(chi_square, chi_square_quantile(kBins - 1, kOneSided));
}

TEST(Forward, EachImageHasItsOwnTimestep) {
  const Schedule s = Schedule::linear();
  const std::vector<std::int64_t> t = {999, 0, 500};
  Rng rng(1, Purpose::test);
  const Tensor x0 = rng.normal({3, 5, 7, 2}), eps = rng.normal(x0.shape());
  const Tensor xt = q_sample(s, x0, Tensor::from<std::int64_t>({3}, t), eps);
  for (std::int64_t n = 0; n < 3; ++n) {
    const Tensor alone = q_sample(s, x0.slice(n, n + 1), times(1, t[static_cast<std::size_t>(n)]),
                                  eps.slice(n, n + 1));
    EXPECT_EQ(max_difference(xt.slice(n, n + 1), alone), 0);
  }
  EXPECT_EQ(q_sample(s, Tensor({0, 4}), Tensor({0}, DType::i64), Tensor({0, 4})).size(), 0);
}

// The posterior of one pixel, by integrating Bayes' rule q(x_{t−1} | x_t, x_0) ∝
// q(x_t | x_{t−1}) q(x_{t−1} | x_0) over a grid. (On such smooth functions the plain sum is as
// exact as the arithmetic.)
struct OnGrid {
  double mean, variance;
};
OnGrid bayes_on_grid(const Schedule& s, double x0, double xt, std::int64_t t) {
  const double alpha = s.alpha[static_cast<std::size_t>(t)], bar = s.alpha_bar_at(t - 1);
  const double likelihood_mean = xt / std::sqrt(alpha), likelihood_var = (1 - alpha) / alpha;
  const double prior_mean = std::sqrt(bar) * x0, prior_var = 1 - bar;
  const double width = std::sqrt(std::min(likelihood_var, prior_var));
  const double low = std::min(likelihood_mean, prior_mean) - 12 * width;
  const double high = std::max(likelihood_mean, prior_mean) + 12 * width;
  const auto points = static_cast<std::int64_t>((high - low) / width * 8);
  const auto energy = [&](double x) {
    return std::pow(x - likelihood_mean, 2) / (2 * likelihood_var) +
           std::pow(x - prior_mean, 2) / (2 * prior_var);
  };
  double lowest = energy(low);
  const auto at = [&](std::int64_t i) {
    return low + (high - low) * static_cast<double>(i) / static_cast<double>(points);
  };
  for (std::int64_t i = 0; i <= points; ++i) lowest = std::min(lowest, energy(at(i)));
  double mass = 0, first = 0, second = 0;
  for (std::int64_t i = 0; i <= points; ++i) {
    const double p = std::exp(lowest - energy(at(i)));
    mass += p;
    first += p * at(i);
  }
  const double mean = first / mass;
  for (std::int64_t i = 0; i <= points; ++i)
    second += std::exp(lowest - energy(at(i))) * std::pow(at(i) - mean, 2);
  return {mean, second / mass};
}

TEST(Ddpm, Equations6And7AreBayesRule) {
  for (const Schedule& s : {Schedule::linear(), Schedule::cosine(), Schedule::linear(4, 0.1, 0.6)})
    for (const std::int64_t t : {std::int64_t{1}, s.steps() / 2, s.steps() - 1})
      for (const double x0 : {-1.0, 0.3})
        for (const double xt : {-2.0, 0.0, 1.1}) {
          const Posterior q = posterior(s, f64({1}, {x0}), f64({1}, {xt}), times(1, t));
          const OnGrid want = bayes_on_grid(s, x0, xt, t);
          EXPECT_NEAR(q.mean.item(), want.mean, 1e-9) << "t " << t;
          EXPECT_NEAR(q.variance.item() / want.variance, 1, 1e-9) << "t " << t;
        }
}

TEST(Ddpm, Equation7AsPrinted) {
  const Schedule s = Schedule::linear();
  for (std::int64_t t = 1; t < s.steps(); ++t) {
    const double beta = s.beta[static_cast<std::size_t>(t)], bar = s.alpha_bar_at(t);
    const double prev = s.alpha_bar_at(t - 1);
    const PosteriorWeights w =
        posterior_weights(variance_preserving(prev), variance_preserving(bar));
    EXPECT_NEAR(w.x0, std::sqrt(prev) * beta / (1 - bar), 1e-11);
    EXPECT_NEAR(w.xt, std::sqrt(1 - beta) * (1 - prev) / (1 - bar), 1e-11);
    EXPECT_NEAR(w.variance, (1 - prev) / (1 - bar) * beta, 1e-14);
    EXPECT_NEAR(w.beta, beta, 1e-14);
  }
}

TEST(Posterior, IsTheDataItselfAtTheFirstTimestep) {
  const Schedule s = Schedule::linear();
  const Posterior q = posterior(s, f64({1}, {0.7}), f64({1}, {-5}), times(1, 0));
  EXPECT_NEAR(q.mean.item(), 0.7, 1e-12);
  EXPECT_EQ(q.variance.item(), 0);
}

// Going to s and from there to r must be going to r at once: the posterior over skipped steps. In every process.
TEST(Posterior, OverSkippedStepsIsTheOneOverEachMerged) {
  const Schedule s = Schedule::linear();
  const NoiseLevel processes[][3] = {
      {s.level(100), s.level(300), s.level(700)},
      {variance_exploding(0.1), variance_exploding(1), variance_exploding(3)},
      {flow_matching(0.1), flow_matching(0.5), flow_matching(0.9)}};
  for (const auto& [r, m, t] : processes) {
    const PosteriorWeights tm = posterior_weights(m, t), mr = posterior_weights(r, m);
    const PosteriorWeights tr = posterior_weights(r, t);
    EXPECT_NEAR(mr.xt * tm.xt, tr.xt, 1e-14);
    EXPECT_NEAR(mr.x0 + mr.xt * tm.x0, tr.x0, 1e-14);
    EXPECT_NEAR(mr.variance + mr.xt * mr.xt * tm.variance, tr.variance, 1e-14);
  }
}

// x_t = α x_s + √β ε, of x_s = a_s x_0 + σ_s ε', is x_t = a_t x_0 + σ_t ε; and the posterior's mean and variance are those of
// the same two Gaussians.
TEST(Posterior, BelongsToTheStepFromTheOneLevelToTheOther) {
  const NoiseLevel pairs[][2] = {{variance_preserving(0.8), variance_preserving(0.3)},
                                 {variance_exploding(0.5), variance_exploding(2)},
                                 {flow_matching(0.2), flow_matching(0.7)}};
  for (const auto& [s, t] : pairs) {
    const PosteriorWeights w = posterior_weights(s, t);
    const double alpha = t.signal() / s.signal();
    EXPECT_NEAR(alpha * alpha * s.noise_variance + w.beta, t.noise_variance, 1e-14);
    // Averaged over x_t it is q(x_s | x_0).
    EXPECT_NEAR(w.x0 + w.xt * t.signal(), s.signal(), 1e-14);
    EXPECT_NEAR(w.variance + w.xt * w.xt * t.noise_variance, s.noise_variance, 1e-14);
  }
}

}  // namespace
}  // namespace sfumato::diffusion
