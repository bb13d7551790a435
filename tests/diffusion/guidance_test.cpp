// Every row of Guidance::all: against diffusers, and on Gaussians and mixtures, whose guided flows are known.
#include "diffusion/guidance.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "diffusion/forward.h"
#include "diffusion/gaussian.h"
#include "diffusion/sampler.h"
#include "tensor/io/json.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;
using testing::Moments;
using testing::moments;

// ---- diffusers: tests/golden/make_guidance.py

TEST(Guidance, AnswersAsInDiffusers) {
  const io::Json golden =
      io::read_json(std::filesystem::path(SFUMATO_SOURCE_DIR) / "tests/golden/guidance.json");
  const double w = golden.at("scale");
  const auto tensor = [](const io::Json& row, const char* name) {
    return f64({2, 4, 3}, row.at(name).get<std::vector<double>>());
  };
  const NoiseLevel level = flow_matching(0.4);
  const Tensor xt = Rng(1).normal({2, 4, 3}, DType::f64);
  Tensor apg_memory, rescale_memory, zero_memory = Tensor::zeros({1}, DType::f64);
  for (const io::Json& row : golden.at("evaluations")) {
    const Tensor good = tensor(row, "good"), away = tensor(row, "away");
    const Estimate apg =
        Guidance::apg.guide({Prediction::x0, level, xt, good, away, apg_memory}, w);
    EXPECT_LT(max_difference(apg.x0, tensor(row, "apg")), 1e-7);
    const Estimate rescaled =
        Guidance::rescale.guide({Prediction::eps, level, xt, good, away, rescale_memory}, w);
    EXPECT_LT(max_difference(rescaled.eps, tensor(row, "rescale")), 1e-7);
    // It scales in float32 there.
    const Estimate zero =
        Guidance::cfg_zero.guide({Prediction::flow, level, xt, good, away, zero_memory}, w);
    EXPECT_LT(max_difference(1.0 * zero.eps - 1.0 * zero.x0, tensor(row, "cfg_zero")), 1e-5);
  }
}

// Halfway, at σ = a, as strong as the others; none in pure noise; 2 w − 1 at the picture. (Wang 2024)
TEST(Guidance, ScaleRisesWithTime) {
  const Tensor xt = Rng(1).normal({2, 4}, DType::f64), good = Rng(2).normal({2, 4}, DType::f64),
               away = Rng(3).normal({2, 4}, DType::f64);
  Tensor memory;
  const auto eps = [&](const Guidance& method, const NoiseLevel& level, double w) {
    return method.guide({Prediction::eps, level, xt, good, away, memory}, w).eps;
  };
  for (const auto& [sigma, as] : {std::pair(1e9, 1.0), {1.0, 3.0}, {1e-9, 5.0}}) {
    const NoiseLevel level = Path::variance_preserving.at_sigma(sigma);
    EXPECT_LT(max_difference(eps(Guidance::rising, level, 3), eps(Guidance::cfg, level, as)), 1e-6);
  }
}

// ---- Exact denoisers

// Draws `n` points of `good` guided away from `away`, in K steps.
struct Drawing {
  std::vector<Gaussian> good, away;
  Guidance method = Guidance::cfg;
  double scale = 2;
  std::int64_t steps = 200;
  Sampler sampler = Sampler::ddim;
  BetaSchedule schedule = BetaSchedule::karras;

  Tensor operator()(std::int64_t n, std::uint64_t seed = 81) const {
    SchedulerConfig config{.sampler = sampler, .beta_schedule = schedule};
    config.prediction_type = Prediction::x0;
    config.clip_sample = false;
    config.timestep_spacing = Spacing::trailing;
    const Schedule s = make_schedule(config);
    SampleOptions o{.config = config, .steps = steps};
    o.guide = {method, scale, exact_denoiser(s, away, Prediction::x0)};
    const auto d = static_cast<std::int64_t>(good[0].mean.size());
    return sample(s, o, exact_denoiser(s, good, Prediction::x0),
                  Rng(seed, Purpose::sample_start).normal({n, d}, DType::f64));
  }
};

// Of Gaussians with one variance, the guided score is that of the Gaussian with mean μ_u + w (μ_c − μ_u).
TEST(Guidance, ClassifierFreeMovesTheMeanOfAGaussian) {
  const Moments m = moments(Drawing{.good = {{.mean = {0.5}, .covariance = {0.04}}},
                                    .away = {{.mean = {0.2}, .covariance = {0.04}}},
                                    .scale = 3}(4000));
  EXPECT_NEAR(m.mean, 0.2 + 3 * (0.5 - 0.2), 0.02);
  EXPECT_NEAR(std::sqrt(m.variance), 0.2, 0.01);
}

// Autoguidance by a model that draws too wide: the answers are −σ (x − μ) / (s² + σ²), and the guided flow's spread ends as
// s^w s_b^{1−w}, narrower than the data.
TEST(Guidance, AwayFromABlurredModelSharpens) {
  const double s = 0.2, blurred = 0.3, w = 2;
  const Moments m = moments(Drawing{.good = {{.mean = {0.5}, .covariance = {s * s}}},
                                    .away = {{.mean = {0.5}, .covariance = {blurred * blurred}}},
                                    .scale = w}(4000));
  EXPECT_NEAR(m.mean, 0.5, 0.01);
  EXPECT_NEAR(std::sqrt(m.variance), std::pow(s, w) * std::pow(blurred, 1 - w), 0.006);
}

// Where it acts, the flow is that of the guided Gaussian, elsewhere that of the conditional one: x goes from level to level as
// μ + √(C_s / C_t) (x − μ) in EDM's coordinates, C = s² + σ².
TEST(Guidance, IntervalActsInItsInterval) {
  const double variance = 0.04, conditional = 0.5, guided_mean = 1.1;
  const Drawing drawing{.good = {{.mean = {0.5}, .covariance = {variance}}},
                        .away = {{.mean = {0.2}, .covariance = {variance}}},
                        .method = Guidance::interval,
                        .scale = 3};
  const auto flow = [&](double x, double mean, double from, double to) {
    return mean + std::sqrt((variance + to * to) / (variance + from * from)) * (x - mean);
  };
  const Tensor x_T = Rng(81, Purpose::sample_start).normal({3, 1}, DType::f64);
  const Tensor got = drawing(3);
  for (std::int64_t i = 0; i < 3; ++i) {
    double x = 80 * x_T.data<double>()[i];
    x = flow(x, conditional, 80, 2.9);
    x = flow(x, guided_mean, 2.9, 0.28);
    x = flow(x, conditional, 0.28, 0);
    EXPECT_NEAR(got.data<double>()[i], x, 0.02);
  }
  int asked = 0;
  SchedulerConfig config{.sampler = Sampler::ddim, .beta_schedule = BetaSchedule::karras};
  config.prediction_type = Prediction::x0;
  const Schedule s = make_schedule(config);
  SampleOptions o{.config = config, .steps = 1000};
  const Denoiser exact = exact_denoiser(s, drawing.good, Prediction::x0);
  o.guide = {Guidance::interval, 3,
             [&](const Tensor& x, double t) { return ++asked, exact(x, t); }};
  sample(s, o, exact, x_T);
  int inside = 0;
  for (std::int64_t t = 0; t < 1000; ++t) {
    const double sigma = s.level(t).sigma();
    inside += sigma > 0.28 && sigma <= 2.9;
  }
  EXPECT_EQ(asked, inside);
}

// DDIM's step by CFG++: x̂_0 of the mixture λ, the noise of the answer without the label.
TEST(Guidance, CfgPlusPlusWalksOnWithTheOtherNoise) {
  const Tensor xt = f64({1, 2}, {0.3, -0.8}), good = f64({1, 2}, {0.5, 0.1}),
               away = f64({1, 2}, {-0.2, 0.4});
  const NoiseLevel t = variance_preserving(0.3), s = variance_preserving(0.6);
  Chain chain{.times = {0}, .levels = {t, s}};
  chain.config.prediction_type = Prediction::eps;
  chain.denoiser = [&](const Tensor&, double) { return good; };
  chain.guide = {Guidance::cfgpp, 0.6, [&](const Tensor&, double) { return away; }};
  // Clipped, x̂_0 is another one, the noise still that one.
  for (const bool clip : {false, true}) {
    chain.config.clip_sample = clip;
    const Tensor x = Sampler::ddim.sample(chain, xt);
    for (int k = 0; k < 2; ++k) {
      const double c = good.data<double>()[k], u = away.data<double>()[k];
      double x0 = (xt.data<double>()[k] - t.noise() * (0.6 * c + 0.4 * u)) / t.signal();
      if (clip) x0 = std::clamp(x0, -1.0, 1.0);
      EXPECT_NEAR(x.data<double>()[k], s.signal() * x0 + s.noise() * u, 1e-12);
    }
  }
  SampleOptions o{.steps = 4, .guide = chain.guide};
  o.config.sampler = Sampler::heun;
  EXPECT_THROW(sample(make_schedule(o.config), o, chain.denoiser, xt), Error);
}

// Two classes of a mixture; the answer without the label is that of both.
const Gaussian kLeft = {.mean = {-1, 0}, .covariance = {0.04, 0.04}};
const Gaussian kRight = {.mean = {1, 0}, .covariance = {0.04, 0.04}};

// Every method draws points of the class that it is asked for. Classifier-free guidance at a large scale draws beyond the class,
// as it should; those that were made against this, CFG++ and APG, stay near it.
TEST(Guidance, OfAMixtureDrawsTheClassAskedFor) {
  for (const Guidance* method : Guidance::all) {
    if (method->by_classifier) continue;  // classifier_guidance_test.cpp
    for (const BetaSchedule* schedule : {&BetaSchedule::karras, &BetaSchedule::flow}) {
      Drawing drawing{.good = {kRight}, .away = {kLeft, kRight}, .method = *method, .steps = 50};
      drawing.schedule = *schedule;
      drawing.scale = method->default_scale;
      const Tensor x = drawing(500);
      for (std::int64_t i = 0; i < 500; ++i) {
        EXPECT_GT(x.data<double>()[2 * i], 0.2) << method->name << " " << schedule->name;
        EXPECT_LT(x.data<double>()[2 * i], 2.2) << method->name << " " << schedule->name;
        EXPECT_LT(std::abs(x.data<double>()[2 * i + 1]), 1) << method->name;
      }
    }
  }
}

// Across the estimate alone: in one dimension nothing is left of guidance, and a line through the origin is kept.
TEST(Guidance, ProjectedLeavesTheLengthAlone) {
  Tensor memory;
  const NoiseLevel level = variance_preserving(0.5);
  const Tensor xt = f64({1, 3}, {0.1, 0.2, 0.3}), good = f64({1, 3}, {0.6, 0, 0}),
               away = f64({1, 3}, {0.1, 0.02, 0});
  const Tensor x0 = Guidance::apg.guide({Prediction::x0, level, xt, good, away, memory}, 5).x0;
  EXPECT_NEAR(x0.data<double>()[0], 0.6, 1e-7);
  const double r = 0.05 * std::sqrt(3.0), size = std::hypot(0.5, 0.02);
  EXPECT_NEAR(x0.data<double>()[1], -4 * 0.02 * r / size, 1e-6);
  EXPECT_EQ(x0.data<double>()[2], 0);
}

// CFG-Zero*: s v_u is the answer without the label that is nearest to the good one; nothing moves at first.
TEST(Guidance, ZeroStarIsOptimalAndStandsAtFirst) {
  Tensor memory;
  const NoiseLevel level = flow_matching(0.5);
  const Tensor xt = f64({1, 2}, {0.4, -0.2}), good = f64({1, 2}, {1, 1}),
               away = f64({1, 2}, {2, 0});
  const Estimate first =
      Guidance::cfg_zero.guide({Prediction::flow, level, xt, good, away, memory}, 3);
  EXPECT_EQ(max_difference(first.x0, first.eps), 0);
  EXPECT_LT(max_difference(first.x0, xt), 1e-12);  // a + σ = 1
  const Estimate e = Guidance::cfg_zero.guide({Prediction::flow, level, xt, good, away, memory}, 3);
  const Tensor v = 1.0 * e.eps - 1.0 * e.x0;  // s = ½: (1, 0) + 3 ((1, 1) − (1, 0))
  EXPECT_NEAR(v.data<double>()[0], 1, 1e-6);
  EXPECT_NEAR(v.data<double>()[1], 3, 1e-6);
}

// φ = 0.7: the deviation of the answer ends at 0.7 of the good one's and 0.3 of the guided one's.
TEST(Guidance, RescaledHasTheContrastOfTheGoodAnswer) {
  Tensor memory;
  const Tensor xt = Rng(1).normal({1, 500}, DType::f64), good = Rng(2).normal({1, 500}, DType::f64);
  const Tensor away = Rng(3).normal({1, 500}, DType::f64);
  const Tensor eps =
      Guidance::rescale
          .guide({Prediction::eps, variance_preserving(0.5), xt, good, away, memory}, 4)
          .eps;
  const auto deviation = [](const Tensor& x) { return std::sqrt(moments(x).variance); };
  EXPECT_NEAR(deviation(eps), 0.7 * deviation(good) + 0.3 * deviation(guided(good, away, 4)), 1e-3);
}

}  // namespace
}  // namespace sfumato::diffusion
