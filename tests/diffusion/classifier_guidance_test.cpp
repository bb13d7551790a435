// Classifier guidance (Dhariwal & Nichol 2021) on mixtures, where p(y | x_t) is known.
#include "diffusion/classifier_guidance.h"

#include <cmath>
#include <functional>
#include <numbers>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/gaussian.h"
#include "diffusion/generate.h"
#include "diffusion/sampler.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;
using testing::unconditional_model;

// Three classes in the plane, of different size and weight.
const std::vector<Gaussian> kClasses = {
    {.weight = 0.5, .mean = {-0.8, 0.1}, .covariance = {0.04, 0.04}},
    {.weight = 0.3, .mean = {0.5, 0.6}, .covariance = {0.09, 0.09}},
    {.weight = 0.2, .mean = {0.4, -0.7}, .covariance = {0.01, 0.01}}};

// log p(y | x_t) of these, by Bayes: softmax of log w_k N(x_t; a μ_k, (a² s_k² + σ²) I).
Var log_p_of_class(std::int64_t y, const Var& x, const NoiseLevel& level) {
  const auto K = static_cast<std::int64_t>(kClasses.size());
  Tensor slope({2, K}, DType::f64), curve({1, K}, DType::f64), offset({1, K}, DType::f64);
  for (std::int64_t k = 0; k < K; ++k) {
    const Gaussian& g = kClasses[static_cast<std::size_t>(k)];
    const double a = level.signal();
    const double v = level.signal_variance * g.covariance[0] + level.noise_variance;
    for (std::int64_t d = 0; d < 2; ++d)
      slope.data<double>()[d * K + k] = a * g.mean[static_cast<std::size_t>(d)] / v;
    curve.data<double>()[k] = -1 / (2 * v);
    offset.data<double>()[k] =
        std::log(g.weight) - std::log(v) -
        level.signal_variance * (g.mean[0] * g.mean[0] + g.mean[1] * g.mean[1]) / (2 * v);
  }
  const std::int64_t n = x.dim(0);
  const Var size = sum_to(square(x), Shape{n, 1});
  const Var logits = size * Var(curve) + matmul(x, Var(slope)) + Var(offset);
  return reshape(log(slice_last(softmax(logits), y, y + 1)), {n});
}

SampleOptions guided_by_class(std::int64_t y, const Sampler& sampler, std::int64_t steps,
                              double scale = 1) {
  SampleOptions o{.steps = steps, .seed = 4};
  o.config.sampler = sampler;
  o.config.prediction_type = Prediction::eps;
  o.config.beta_schedule = BetaSchedule::karras;
  o.config.clip_sample = false;
  o.config.timestep_spacing = Spacing::trailing;
  o.guide.method = Guidance::classifier;
  o.guide.scale = scale;
  o.guide.score =
      score_of([y](const Var& x, const NoiseLevel& level) { return log_p_of_class(y, x, level); });
  return o;
}

// Bayes' rule: with scale 1 the denoiser of all classes says what the denoiser of the class alone says, of every process.
TEST(ClassifierGuidance, IsTheDenoiserOfTheClass) {
  const Tensor xt = Rng(2).normal({50, 2}, DType::f64);
  for (const NoiseLevel& level : {variance_preserving(0.9), variance_preserving(0.3),
                                  variance_exploding(3), flow_matching(0.6)})
    for (std::int64_t y = 0; y < 3; ++y) {
      const Tensor all = expected_eps(kClasses, level, xt);
      const Estimate want = expected({kClasses[static_cast<std::size_t>(y)]}, level, xt);
      Tensor memory;
      const Estimate said = read(Prediction::eps, level, xt, all);
      Answers answers{Prediction::eps, level, xt, all, {}, memory};
      answers.score = score_of([y](const Var& x, const NoiseLevel& l) {
        return log_p_of_class(y, x, l);
      })(level, xt, said);
      const Estimate got = Guidance::classifier.guide(answers, 1);
      EXPECT_LT(max_difference(got.eps, want.eps), 1e-10);
      EXPECT_LT(max_difference(got.x0, want.x0), 1e-8);
      // Eq. 14, with scale 3: ε̂ = ε − 3 σ ∇ log p(y | x_t).
      const Tensor scaled = all + -3 * level.noise() * answers.score;
      EXPECT_LT(max_difference(Guidance::classifier.guide(answers, 3).eps, scaled), 1e-12);
    }
}

// The paper's algorithms 2 (DDIM) and 1 (DDPM), and another solver: samples of the class, from a denoiser that knows none.
TEST(ClassifierGuidance, DrawsTheClass) {
  constexpr std::int64_t n = 4000;
  for (const auto& [sampler, steps] :
       {std::pair{Sampler::ddim, std::int64_t{300}}, std::pair{Sampler::ddpm, std::int64_t{400}},
        std::pair{Sampler::heun, std::int64_t{100}}})
    for (std::int64_t y = 0; y < 3; ++y) {
      const SampleOptions o = guided_by_class(y, sampler, steps);
      const Schedule schedule = make_schedule(o.config);
      const Tensor x0 = sample(schedule, o, exact_denoiser(schedule, kClasses, Prediction::eps),
                               Rng(7, Purpose::sample_start).normal({n, 2}, DType::f64));
      const Gaussian& want = kClasses[static_cast<std::size_t>(y)];
      double mean[2] = {0, 0}, square[3] = {0, 0, 0};
      for (std::int64_t i = 0; i < n; ++i) {
        const double a = x0.data<double>()[2 * i], b = x0.data<double>()[2 * i + 1];
        mean[0] += a / n, mean[1] += b / n;
        square[0] += a * a / n, square[1] += b * b / n, square[2] += a * b / n;
      }
      const double v = want.covariance[0], error = 5 * std::sqrt(v / n);
      EXPECT_NEAR(mean[0], want.mean[0], error + 0.004) << sampler.name << " " << y;
      EXPECT_NEAR(mean[1], want.mean[1], error + 0.004) << sampler.name << " " << y;
      EXPECT_NEAR((square[0] - mean[0] * mean[0]) / v, 1, 0.13) << sampler.name << " " << y;
      EXPECT_NEAR((square[1] - mean[1] * mean[1]) / v, 1, 0.13) << sampler.name << " " << y;
      EXPECT_NEAR((square[2] - mean[0] * mean[1]) / v, 0, 0.09) << sampler.name << " " << y;
    }
}

// Without guidance every class is drawn; scale 0 is none.
TEST(ClassifierGuidance, OfScaleZeroIsNone) {
  SampleOptions o = guided_by_class(1, Sampler::heun, 20, 0);
  const Schedule schedule = make_schedule(o.config);
  const Denoiser exact = exact_denoiser(schedule, kClasses, Prediction::eps);
  const Tensor x_T = Rng(7).normal({20, 2}, DType::f64), got = sample(schedule, o, exact, x_T);
  o.guide = {};
  EXPECT_EQ(max_difference(got, sample(schedule, o, exact, x_T)), 0);
}

// Of an estimate: exact for data N(0, I) and a log p = b · x_0, which make p(x_0 | y) = N(b, I).
TEST(ClassifierGuidance, OfAnEstimateIsExactWhereItSaysSo) {
  const std::vector<Gaussian> data = {{.mean = {0, 0}, .covariance = {1, 1}}};
  const double b[2] = {0.7, -0.4};
  SampleOptions o = guided_by_class(0, Sampler::heun, 100);
  const Tensor slope = f64({2, 1}, {b[0], b[1]});
  o.guide.score = score_of_estimate(
      [&](const Var& x0) { return reshape(matmul(x0, Var(slope)), {x0.dim(0)}); }, 1e9);
  const Schedule schedule = make_schedule(o.config);
  const Tensor x_T = Rng(7).normal({30, 2}, DType::f64);
  const Tensor got = sample(schedule, o, exact_denoiser(schedule, data, Prediction::eps), x_T);
  const std::vector<Gaussian> tilted = {{.mean = {b[0], b[1]}, .covariance = {1, 1}}};
  o.guide = {};
  const Tensor want = sample(schedule, o, exact_denoiser(schedule, tilted, Prediction::eps), x_T);
  EXPECT_LT(max_difference(got, want), 1e-6);
}

void expect_no_guidance(const std::function<void()>& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "nothing thrown, expected: " << part;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(ClassifierGuidance, RefusesWhatMakesNoSense) {
  SampleOptions o = guided_by_class(0, Sampler::ddim, 2);
  const Schedule schedule = make_schedule(o.config);
  const Denoiser exact = exact_denoiser(schedule, kClasses, Prediction::eps);
  const Tensor x_T = Rng(7).normal({2, 2}, DType::f64);
  const auto draws = [&] { sample(schedule, o, exact, x_T); };
  o.guide.method = Guidance::cfg;
  expect_no_guidance(draws, "a classifier guides by the method classifier, got cfg");
  o.guide.method = Guidance::classifier;
  o.guide.score = score_of([](const Var& x, const NoiseLevel&) { return x; });
  expect_no_guidance(draws, "log p(y | x) of each picture, [2], got [2, 2]");
  o.guide.score = {};
  expect_no_guidance(draws, "guidance classifier needs a classifier");
}

// ---- Pictures

// Two classes: dark and light.
PictureClassifier by_lightness() {
  return {2, [](const Var& x0) {
            const std::int64_t n = x0.dim(0), pixels = x0.value().size() / n;
            const Var light = sum_to(reshape(x0, {n, pixels}), Shape{n, 1}) * 0.5;
            return concat(-light, light);
          }};
}

double lightness(const Tensor& pictures) {
  double sum = 0;
  for (const std::uint8_t value : pictures.values<std::uint8_t>()) sum += value;
  return sum / static_cast<double>(pictures.size());
}

TEST(ClassifierGuidance, LeadsAModelWithoutLabels) {
  const Pipeline model = unconditional_model();
  const PictureClassifier classifier = by_lightness();
  GenerateOptions o{.labels = {0, 0, 0}, .steps = 5, .guidance = 2, .method = Guidance::classifier};
  o.classifier = &classifier;
  const double dark = lightness(generate(model, o));
  o.labels = {1, 1, 1};
  const double light = lightness(generate(model, o));
  EXPECT_GT(light, dark + 20);
}

TEST(ClassifierGuidance, NeitherBatchNorCountChangesAPicture) {
  const Pipeline model = unconditional_model();
  const PictureClassifier classifier = by_lightness();
  for (const Sampler* sampler : Sampler::all) {
    if (sampler->one_picture) continue;
    GenerateOptions o{.labels = {0, 1, 1}, .steps = 3, .sampler = *sampler, .guidance = 2};
    o.method = Guidance::classifier, o.classifier = &classifier;
    const Tensor together = generate(model, o);
    o.batch = 2;
    EXPECT_EQ(max_difference(generate(model, o), together), 0) << sampler->name;
    o.labels = {0};
    EXPECT_EQ(max_difference(generate(model, o), together.slice(0, 1)), 0) << sampler->name;
  }
}

TEST(ClassifierGuidance, OfPicturesRefusesWhatMakesNoSense) {
  const Pipeline model = unconditional_model(), guide = unconditional_model();
  const PictureClassifier classifier = by_lightness();
  GenerateOptions o{.labels = {0}, .steps = 2, .guidance = 2, .method = Guidance::classifier};
  const auto draws = [&] { generate(model, o); };
  expect_no_guidance(draws, "guidance classifier needs a classifier");
  o.classifier = &classifier;
  o.labels = {2};
  expect_no_guidance(draws, "label 2: the classifier knows 0..1");
  o.labels = {1};
  o.guide = &guide;
  expect_no_guidance(draws, "a classifier or a guide, got both");
  o.guide = nullptr;
  o.method = Guidance::cfg;
  expect_no_guidance(draws, "a classifier guides by the method classifier, got cfg");
}

}  // namespace
}  // namespace sfumato::diffusion
