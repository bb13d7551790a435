// diffusion/toy: data in the plane, and the network that learns them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/toy/boxes.h"
#include "diffusion/toy/learn.h"
#include "diffusion/toy/mlp.h"
#include "diffusion/toy/plane.h"
#include "diffusion/toy/walks.h"
#include "nn/optim.h"

namespace sfumato {
namespace {

using namespace diffusion;

TEST(Toy, PointsHaveTheMixturesMoments) {
  const std::int64_t n = 40000;
  const Tensor x = toy::draw(toy::mixture("two"), n, Rng(1));
  double mean[2] = {}, square[2] = {};
  for (std::int64_t i = 0; i < x.size(); ++i) {
    mean[i % 2] += x.data<float>()[i] / static_cast<double>(n);
    square[i % 2] += std::pow(x.data<float>()[i], 2) / static_cast<double>(n);
  }
  // 3/4 N((-0.8, -0.3), 0.25²) + 1/4 N((0.8, 0.5), 0.12²)
  EXPECT_NEAR(mean[0], -0.4, 0.02);
  EXPECT_NEAR(mean[1], -0.1, 0.02);
  EXPECT_NEAR(square[0], 0.64 + 0.75 * 0.0625 + 0.25 * 0.0144, 0.02);
  EXPECT_NEAR(square[1], 0.75 * (0.09 + 0.0625) + 0.25 * (0.25 + 0.0144), 0.02);
}

TEST(Toy, WrongDataAreRefused) {
  EXPECT_THROW(toy::mixture("triangle"), Error);
  EXPECT_THROW(toy::draw({}, 5, Rng(1)), Error);
  const Gaussian full{.weight = 1, .mean = {0, 0}, .covariance = {1, 0, 0, 1}};
  EXPECT_THROW(toy::draw({full}, 5, Rng(1)), Error);
}

TEST(Toy, TheNetworkComesNearTheBestLoss) {
  const std::vector<Gaussian> mixture = toy::mixture("two");
  const Schedule schedule = Schedule::linear(100, 1e-3, 0.2);
  nn::Params params(1);
  const toy::Mlp network(params, 2, 32);
  nn::AdamW adam(params, {});
  const auto noised = [&](std::uint64_t k, std::int64_t n, const Tensor& t, const Tensor& eps) {
    return q_sample(schedule, toy::draw(mixture, n, Rng(2, Purpose::shuffle, k)), t, eps);
  };
  for (std::uint64_t k = 0; k < 400; ++k) {
    const Tensor t = Rng(2, Purpose::timestep, k).randint({128}, schedule.steps());
    const Tensor eps = Rng(2, Purpose::noise, k).normal({128, 2});
    params.zero_grad();
    mse(network(noised(k, 128, t, eps), t), eps).backward();
    adam.step(3e-3 * nn::warmup_cosine(static_cast<std::int64_t>(k), 10,
                                       static_cast<double>(k) / 400, 0.02));
  }
  NoGrad no_grad;
  const Tensor t = Tensor::full({4000}, 40, DType::i64), eps = Rng(3).normal({4000, 2});
  const Tensor xt = noised(1000, 4000, t, eps);
  const double best = mse(expected_eps(mixture, schedule.level(40), xt), eps).value().item();
  const double reached = mse(network(xt, t), eps).value().item();
  EXPECT_GT(reached, best);
  EXPECT_LT(reached, 1.15 * best);
}

// ---- Distributions

TEST(Toy, PointsOfEveryRowHaveItsSizeAndAreAFunctionOfTheAddress) {
  for (const toy::Distribution* row : toy::Distribution::all) {
    const Tensor x = row->draw(2000, Rng(1)), again = row->draw(2000, Rng(1));
    ASSERT_EQ(x.shape(), (Shape{2000, 2})) << row->name;
    double largest = 0, square = 0;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(x.data<float>()[i], again.data<float>()[i]);
      largest = std::max(largest, std::abs(static_cast<double>(x.data<float>()[i])));
      square += std::pow(x.data<float>()[i], 2) / static_cast<double>(x.size());
    }
    EXPECT_LT(largest, 3.5) << row->name;
    EXPECT_NEAR(std::sqrt(square), 0.7, 0.2) << row->name;
  }
}

// ∫ f(z) φ(z) / φ(z_0) dz from alpha to beta by Simpson's rule.
template <class F>
double integral(double alpha, double beta, double z_0, F f) {
  constexpr int kParts = 20000;
  const double h = (beta - alpha) / kParts;
  double sum = 0;
  for (int i = 0; i <= kParts; ++i) {
    const double z = alpha + h * i, weight = i == 0 || i == kParts ? 1 : i % 2 ? 4 : 2;
    sum += weight * f(z) * std::exp((z_0 - z) * (z_0 + z) / 2);
  }
  return sum * h / 3;
}

TEST(TruncatedNormal, IsTheIntegralOfTheDensityEverywhere) {
  const std::pair<double, double> intervals[] = {
      {-1, 2},       {-0.001, 0.001}, {0.3, 0.31},     {2, 9},       {-9, -2},      {9.9, 10.1},
      {-40, -38},    {60, 60.5},      {500, 500.0001}, {-3, 1e-4},   {1e-4, 3},     {-6, 6},
      {1.5, 1.5066}, {-30, -29.9999}, {12, 12.0008},   {-0.02, 0.5}, {0.005, 0.014}};
  for (const auto& [alpha, beta] : intervals) {
    const double z_0 = alpha > 0 ? alpha : beta < 0 ? beta : 0;  // where the density is largest
    // Further out there is nothing: the rest is below 1e-16 of the whole.
    const double far = 40 / std::max(1.0, std::abs(z_0));
    const double low = std::max(alpha, z_0 - far), high = std::min(beta, z_0 + far);
    const double mass = integral(low, high, z_0, [](double) { return 1.0; });
    const double first = integral(low, high, z_0, [&](double z) { return z - z_0; });
    const toy::TruncatedNormal got(alpha, beta);
    const double log_root_2_pi = std::log(2 * std::acos(-1.0)) / 2;
    EXPECT_NEAR(got.log_mass, std::log(mass) - z_0 * z_0 / 2 - log_root_2_pi, 1e-8)
        << alpha << " " << beta;
    EXPECT_NEAR(got.mean, z_0 + first / mass, 1e-7 * (beta - alpha)) << alpha << " " << beta;
  }
}

// E[x_0 | x_t] of the checkerboard, by sums over a grid of points of it in float64.
TEST(Toy, TheExactDenoiserOfTheCheckerboardIsTheConditionalMean) {
  constexpr int kCells = 64;  // along a square's side
  for (const double sigma : {0.15, 0.6, 3.0}) {
    const NoiseLevel level = variance_preserving(1 / (1 + sigma * sigma));
    const double a = level.signal(), s = level.noise();
    for (const auto& [x, y] : {std::pair{0.1, 0.3}, {-1.5, 0.2}, {0.69, -0.71}}) {
      double mass = 0, sum_x = 0, sum_y = 0;
      for (int row = 0; row < 4 * kCells; ++row)
        for (int column = 0; column < 4 * kCells; ++column) {
          if ((row / kCells + column / kCells) % 2 != 0) continue;
          const double u = 0.7 * ((column + 0.5) / kCells - 2),
                       v = 0.7 * ((row + 0.5) / kCells - 2);
          const double p =
              std::exp(-((x - a * u) * (x - a * u) + (y - a * v) * (y - a * v)) / (2 * s * s));
          mass += p, sum_x += p * u, sum_y += p * v;
        }
      const Estimate e =
          toy::Distribution::checkerboard.exact(level, Tensor::from<double>({1, 2}, {x, y}));
      EXPECT_NEAR(e.x0.data<double>()[0], sum_x / mass, 1e-4) << sigma;
      EXPECT_NEAR(e.x0.data<double>()[1], sum_y / mass, 1e-4) << sigma;
    }
  }
}

// (a E[x_0 | x_t] − x_t) / σ² is −E[ε | x_t] / σ, and as a gradient, that of log p(x_t), it has no curl.
TEST(Toy, ExactAnswersAreAScore) {
  for (const toy::Distribution* row : toy::Distribution::all) {
    if (!row->exact) continue;
    for (const NoiseLevel& level :
         {variance_preserving(0.8), variance_exploding(0.3), flow_matching(0.7)}) {
      const double a = level.signal(), s = level.noise(), h = 1e-5;
      const auto score = [&](double x, double y, int i) {
        const Tensor xt = Tensor::from<double>({1, 2}, {x, y});
        const Estimate e = row->exact(level, xt);
        const double x_i = xt.data<double>()[i];
        EXPECT_NEAR(a * e.x0.data<double>()[i] + s * e.eps.data<double>()[i], x_i, 1e-12);
        const double got = (a * e.x0.data<double>()[i] - x_i) / (s * s);
        EXPECT_NEAR(got, -e.eps.data<double>()[i] / s, 1e-9);
        return got;
      };
      for (const auto& [x, y] : {std::pair{0.2, 0.5}, {-0.9, 0.1}, {0.4, -1.1}}) {
        const double dy = (score(x, y + h, 0) - score(x, y - h, 0)) / (2 * h);
        const double dx = (score(x + h, y, 1) - score(x - h, y, 1)) / (2 * h);
        EXPECT_NEAR(dx, dy, 1e-5) << row->name;
      }
    }
    // Without signal x_t says nothing of x_0: its mean is that of the data.
    const Tensor x = row->draw(20000, Rng(3)), far = Tensor::from<double>({1, 2}, {1, -2});
    double mean[2] = {};
    for (std::int64_t i = 0; i < x.size(); ++i) mean[i % 2] += x.data<float>()[i] / 20000.0;
    const Estimate e = row->exact({0, 1}, far);
    for (int i = 0; i < 2; ++i) {
      EXPECT_NEAR(e.x0.data<double>()[i], mean[i], 0.03) << row->name;
      EXPECT_NEAR(e.eps.data<double>()[i], far.data<double>()[i], 1e-12) << row->name;
    }
  }
}

TEST(SlicedWasserstein, IsTheLengthOfAShift) {
  const Tensor a = Rng(1).normal({500, 2}, DType::f64);
  Tensor b = a.clone();
  for (std::int64_t i = 0; i < b.size(); i += 2) b.data<double>()[i] += 0.3;
  EXPECT_EQ(toy::sliced_wasserstein(a, a), 0);
  EXPECT_NEAR(toy::sliced_wasserstein(a, b), 0.3 * 2 / std::acos(-1.0), 1e-3);  // 0.3 mean |cos|
  EXPECT_THROW(toy::sliced_wasserstein(a, b.slice(0, 400)), Error);
}

// ---- Walks

SampleOptions plane_options(const BetaSchedule& row) {
  SampleOptions o{.config = default_scheduler(Prediction::v, row)};
  o.config.clip_sample = false;
  o.config.timestep_spacing = Spacing::karras;
  return o;
}

// The exact flow of a Gaussian stretches each axis by √(C_s / C_t), C = a² Σ + σ².
TEST(ToyWalks, TheExactFlowOfAGaussianIsKnown) {
  SampleOptions o = plane_options(BetaSchedule::linear);
  o.steps = 7;
  const Schedule s = make_schedule(o.config);
  const Chain chain = toy::chain_to_first_level(
      s, o, toy::denoiser(s, Prediction::v, toy::Distribution::gaussian.exact));
  EXPECT_EQ(chain.steps(), 7);
  EXPECT_EQ(chain.levels.back().noise_variance, s.level(0).noise_variance);
  const Tensor x = Tensor::from<double>({1, 2}, {0.7, -1.3}), got = toy::exact_flow(chain, x);
  const double mean[] = {0.3, -0.2}, variance[] = {0.64, 0.09};
  const NoiseLevel t = chain.levels.front(), end = chain.levels.back();
  for (int i = 0; i < 2; ++i) {
    const double stretch = std::sqrt((end.signal_variance * variance[i] + end.noise_variance) /
                                     (t.signal_variance * variance[i] + t.noise_variance));
    const double want =
        end.signal() * mean[i] + stretch * (x.data<double>()[i] - t.signal() * mean[i]);
    EXPECT_NEAR(got.data<double>()[i], want, 3e-7);
  }
}

// On data that are no Gaussian, over a whole schedule, each method's error falls with its order.
TEST(ToyWalks, ErrorsOnTheMixtureFallWithTheOrder) {
  SampleOptions o = plane_options(BetaSchedule::linear);
  const Schedule s = make_schedule(o.config);
  const Denoiser exact = toy::denoiser(s, Prediction::v, toy::Distribution::mixture.exact);
  const Tensor x_T = Rng(0, Purpose::sample_start).normal({60, 2}, DType::f64);
  Tensor want;
  const std::pair<const Sampler*, double> rows[] = {
      {&Sampler::euler, 1}, {&Sampler::heun, 2}, {&Sampler::dpmpp_2m, 2}, {&Sampler::rk4, 4}};
  for (const auto& [sampler, order] : rows) {
    o.config.sampler = *sampler;
    std::vector<double> counts, errors;
    for (const std::int64_t steps : {80, 160}) {
      o.steps = steps;
      const Chain chain = toy::chain_to_first_level(s, o, exact);
      const Tensor x = start(chain, x_T);
      if (!want.defined()) want = toy::exact_flow(chain, x);
      counts.push_back(static_cast<double>(steps));
      errors.push_back(toy::mean_distance(walk(chain, x), want));
    }
    EXPECT_NEAR(toy::slope(counts, errors), order, 0.2) << sampler->name;
  }
}

TEST(ToyWalks, CountsPoints) {
  std::int64_t points = 0;
  const Denoiser zero = [](const Tensor& x, double) { return Tensor::zeros(x.shape(), x.kind()); };
  const Denoiser asked = toy::counted(zero, points);
  asked(Tensor::zeros({3, 2}), 1);
  asked(Tensor::zeros({4, 2}), 2);
  EXPECT_EQ(points, 7);
  const double one[] = {1};
  EXPECT_THROW(toy::slope(one, one), Error);
}

// What it learns is near the exact answer, whatever the process and what is predicted.
TEST(Toy, ANetworkLearnsTheAnswersOfEveryProcess) {
  const toy::Distribution& data = toy::Distribution::gaussian;
  for (const BetaSchedule* row :
       {&BetaSchedule::linear, &BetaSchedule::karras, &BetaSchedule::flow}) {
    const Schedule s = make_schedule(default_scheduler(Prediction::v, *row));
    double last = 0;
    const toy::Answer learned = toy::learn(
        data, s, {.steps = 400, .batch = 128, .width = 32, .on_step = [&](std::int64_t, double l) {
                    last = l;
                  }});
    EXPECT_GT(last, 0);
    const NoiseLevel level = s.path->at_sigma(0.6);
    const Tensor x0 = data.draw(300, Rng(4)), eps = Rng(5).normal(x0.shape());
    const auto [signal, noise] = levels(level);
    const Tensor xt = q_sample({signal, noise}, x0, eps).to(DType::f64);
    const Tensor want = data.exact(level, xt).x0, got = learned(level, xt).x0;
    EXPECT_EQ(got.dtype(), DType::f64);
    EXPECT_LT(toy::mean_distance(got, want), 0.1) << row->name;
  }
}

}  // namespace
}  // namespace sfumato
