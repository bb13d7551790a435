// Samplers without training: the data are Gaussian, or a mixture, so the best denoiser is known.
#include "diffusion/sampler.h"

#include <fmt/format.h>

#include <numeric>

#include "diffusion/clip.h"
#include "diffusion/forward.h"
#include "diffusion/gaussian.h"
#include "diffusion/spacing.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::expect_normal_moments;
using testing::f64;
using testing::kTwoSided;
using testing::max_difference;
using testing::normal_cdf;
using testing::one_step;
using testing::Step;
using testing::times;

// A sampler to be tested.
struct Variant {
  Sampler sampler;
  double eta;
  Variance variance;
  Prediction prediction = Prediction::eps;

  SchedulerConfig config(std::int64_t T) const {
    SchedulerConfig c;
    c.sampler = sampler;
    c.num_train_timesteps = T;
    c.variance_type = variance;
    c.prediction_type = prediction;
    c.clip_sample = false;
    return c;
  }
  Step step(const Schedule& s, const Tensor& out, std::int64_t t, std::int64_t prev,
            const Tensor& xt, const Tensor& noise) const {
    return one_step(s, config(s.steps()), eta, out, t, prev, xt, noise);
  }
  std::string str() const {
    return fmt::format("{} eta {} {} {}", sampler.name, eta, name(variance), prediction.name);
  }
};

const Variant kVariants[] = {{Sampler::ddpm, 0, Variance::fixed_small},
                             {Sampler::ddpm, 0, Variance::fixed_large},
                             {Sampler::ddim, 0, Variance::fixed_small},
                             {Sampler::ddim, 0.5, Variance::fixed_small},
                             {Sampler::ddim, 1, Variance::fixed_small}};

// Two correlated numbers.
const Gaussian kData = {.mean = {0.5, -0.3}, .covariance = {0.5, 0.2, 0.2, 0.25}};

struct Distribution {
  std::vector<double> mean, covariance;  // 2, 2x2

  double distance(const Distribution& d) const {
    double worst = 0;
    for (int i = 0; i < 2; ++i) worst = std::max(worst, std::abs(mean[i] - d.mean[i]));
    for (int i = 0; i < 4; ++i) worst = std::max(worst, std::abs(covariance[i] - d.covariance[i]));
    return worst;
  }
};

// How kData is distributed at one noise level.
Distribution forward(double alpha_bar) {
  Distribution d{kData.mean, kData.covariance};
  for (double& m : d.mean) m *= std::sqrt(alpha_bar);
  for (double& c : d.covariance) c *= alpha_bar;
  d.covariance[0] += 1 - alpha_bar;
  d.covariance[3] += 1 - alpha_bar;
  return d;
}

// What a sampler of K steps makes of x_T ~ d, without a random number: for Gaussian data each step
// is x -> A x + b + σ z, so the images of (0,0), (1,0), (0,1), and of (0,0) with noise (1,0), tell
// A, b and σ, and thus the mean and the covariance after it.
Distribution follow(const Schedule& s, const Variant& v, std::int64_t steps, Distribution d,
                    Spacing spacing = Spacing::leading) {
  SchedulerConfig config = v.config(s.steps());
  config.timestep_spacing = spacing;
  const Denoiser denoiser = exact_denoiser(s, {kData}, v.prediction);
  const Tensor probe = f64({4, 2}, {0, 0, 1, 0, 0, 1, 0, 0});
  const Tensor noise = f64({4, 2}, {0, 0, 0, 0, 0, 0, 1, 0});
  const std::vector<std::int64_t> ts = timesteps(config, steps);
  for (std::size_t i = 0; i < ts.size(); ++i) {
    const std::int64_t prev = i + 1 < ts.size() ? ts[i + 1] : -1;
    const Tensor image = v.step(s, denoiser(probe, ts[i]), ts[i], prev, probe, noise).x_prev;
    const double* y = image.data<double>();
    const double b[2] = {y[0], y[1]};
    const double A[2][2] = {{y[2] - b[0], y[4] - b[0]}, {y[3] - b[1], y[5] - b[1]}};
    const double sigma = y[6] - b[0];
    EXPECT_NEAR(y[7], b[1], 1e-12);  // noise in one number stays there
    Distribution next{{b[0], b[1]}, {sigma * sigma, 0, 0, sigma * sigma}};
    for (int p = 0; p < 2; ++p)
      for (int q = 0; q < 2; ++q) {
        next.mean[p] += A[p][q] * d.mean[q];
        for (int k = 0; k < 2; ++k)
          for (int l = 0; l < 2; ++l)
            next.covariance[2 * p + q] += A[p][k] * d.covariance[2 * k + l] * A[q][l];
      }
    d = next;
  }
  return d;
}

double error_of(const Schedule& s, const Variant& v, std::int64_t steps) {
  const std::int64_t start = timesteps(v.config(s.steps()), steps).front();
  return follow(s, v, steps, forward(s.alpha_bar_at(start)))
      .distance({kData.mean, kData.covariance});
}

// All are of first order: twice the steps, half the error. (The data have ᾱ = 1, so the last step,
// from t = 0, is an error of its own; with T = 4096 it is small.)
TEST(Samplers, RecoverMeanAndCovarianceAtFirstOrder) {
  const Schedule s = Schedule::linear(4096, 0.1 / 4096, 20.0 / 4096);
  for (Variant v : kVariants)
    for (const Prediction* kind : Prediction::all) {
      v.prediction = *kind;
      double previous = error_of(s, v, 128);
      for (const std::int64_t steps : {256, 512, 1024}) {
        const double error = error_of(s, v, steps);
        EXPECT_NEAR(previous / error, 2, 0.15) << v.str() << " at " << steps;
        previous = error;
      }
      EXPECT_LT(previous, 0.006) << v.str();
    }
}

// sample() itself, with its random numbers, in float: 10,000 points must have the moments that
// follow() foretells. Four tests a variant, each wrong about a correct program once in a million
// seeds.
TEST(Samplers, SampleDrawsFromTheForetoldDistribution) {
  const Schedule s = Schedule::linear(200, 0.001, 0.1);
  constexpr std::int64_t kPoints = 10000;
  const Tensor x_T = Rng(11, Purpose::sample_start).normal({kPoints, 2});
  for (const Variant& v : kVariants) {
    SCOPED_TRACE(v.str());
    const SampleOptions options = {.config = v.config(200), .steps = 40, .eta = v.eta, .seed = 12};
    const Tensor x = sample(s, options, exact_denoiser(s, {kData}, v.prediction), x_T);
    const Tensor columns = permute(x, {1, 0});
    const Distribution want = follow(s, v, 40, {{0, 0}, {1, 0, 0, 1}});
    for (int i = 0; i < 2; ++i)
      expect_normal_moments(testing::moments(columns.slice(i, i + 1)),
                            {want.mean[i], want.covariance[3 * i]}, kPoints);
  }
}

// Two modes of weight 0.3 and 0.7. Points right of the gap are counted, a binomial number, wrong
// about a correct program once in a million seeds beyond 0.01 for what the samplers themselves get
// wrong.
TEST(Samplers, RecoverTheWeightsOfAMixture) {
  const std::vector<Gaussian> modes = {{.weight = 3, .mean = {-0.6}, .covariance = {0.01}},
                                       {.weight = 7, .mean = {0.7}, .covariance = {0.02}}};
  const Schedule s = Schedule::linear();
  constexpr std::int64_t kPoints = 10000;
  const Tensor x_T = Rng(21, Purpose::sample_start).normal({kPoints, 1});
  for (const Variant& v : kVariants) {
    const SampleOptions options = {.config = v.config(1000), .steps = 50, .eta = v.eta, .seed = 22};
    const Tensor x = sample(s, options, exact_denoiser(s, modes, Prediction::eps), x_T);
    double right = 0;
    for (const float value : x.values<float>()) right += value > 0.05f ? 1.0 / kPoints : 0;
    EXPECT_NEAR(right, 0.7, kTwoSided * std::sqrt(0.3 * 0.7 / kPoints) + 0.01) << v.str();
  }
}

// Pictures drawn together are those drawn one by one.
TEST(Sample, APictureDependsOnItsNumberAndTheSeedAlone) {
  const Schedule s = Schedule::cosine(100);
  const Tensor x_T = Rng(41, Purpose::sample_start).normal({5, 3, 3, 1});
  const Denoiser net = [](const Tensor& xt, std::int64_t) { return xt; };
  for (const Variant& v : kVariants) {
    SampleOptions options = {.config = v.config(100), .steps = 9, .eta = v.eta, .seed = 42};
    const Tensor together = sample(s, options, net, x_T);
    for (std::int64_t i = 0; i < 5; ++i) {
      options.first_picture = i;
      const Tensor alone = sample(s, options, net, x_T.slice(i, i + 1));
      EXPECT_EQ(max_difference(alone, together.slice(i, i + 1)), 0) << v.str() << " " << i;
    }
  }
}

// From x_T ~ N(0, I), for every number of steps: the error is not above that of fewer steps. (A
// thousandth is allowed for timesteps being whole numbers.)
TEST(Samplers, MoreStepsAreNeverWorse) {
  const auto expect_falling = [](std::int64_t T, const std::vector<std::int64_t>& counts) {
    const Schedule s =
        Schedule::linear(T, 0.1 / static_cast<double>(T), 20 / static_cast<double>(T));
    for (const Spacing spacing : {Spacing::leading, Spacing::trailing, Spacing::linspace})
      for (const Variant& v : kVariants) {
        double best = 1e9;
        for (const std::int64_t steps : counts) {
          const double error = follow(s, v, steps, {{0, 0}, {1, 0, 0, 1}}, spacing)
                                   .distance({kData.mean, kData.covariance});
          EXPECT_LT(error, 1.001 * best) << v.str() << " " << name(spacing) << " " << steps;
          best = std::min(best, error);
        }
      }
  };
  std::vector<std::int64_t> all(200);
  std::iota(all.begin(), all.end(), 1);
  expect_falling(200, all);
  expect_falling(1000, {2, 3, 7, 20, 33, 100, 128, 300, 334, 400, 499, 500, 501, 600, 999, 1000});
}

// Pixels are mostly black with some white, and the network sees 3 % too little noise: x̂_0 leaves
// [-1, 1] and is clipped. The mean then settles with the number of steps. (With the network's ε̂
// kept it falls from -0.75 at 10 steps to -1 at 1000: everything black.)
TEST(Samplers, ClippedEstimatesSettleWithTheNumberOfSteps) {
  const std::vector<Gaussian> pixels = {{.weight = 0.9, .mean = {-1}, .covariance = {1e-4}},
                                        {.weight = 0.1, .mean = {1}, .covariance = {1e-4}}};
  const Schedule s = Schedule::linear();
  constexpr std::int64_t kPoints = 600;
  const Tensor x_T = Rng(51, Purpose::sample_start).normal({kPoints, 1});
  const Denoiser exact = exact_denoiser(s, pixels, Prediction::eps);
  const Denoiser network = [&](const Tensor& xt, std::int64_t t) {
    return guided(exact(xt, t), Tensor::zeros(xt.shape()), 0.97);
  };
  SampleOptions options = {.config = kVariants[2].config(1000), .seed = 52};
  options.config.clip_sample = true;
  const auto mean = [&](std::int64_t steps) {
    options.steps = steps;
    double sum = 0;
    const Tensor x = sample(s, options, network, x_T);
    for (const float v : x.values<float>()) sum += v;
    return sum / kPoints;
  };
  const double settled = mean(1000);
  EXPECT_NEAR(mean(10), settled, 0.03);
  EXPECT_NEAR(mean(50), settled, 0.01);
  EXPECT_NEAR(mean(250), settled, 0.003);
  EXPECT_NEAR(settled, -0.8, 0.1);
}

// Numbers for a single step, of no meaning.
struct OneStep {
  Schedule s = Schedule::linear();
  Tensor output, xt, noise;
  OneStep() {
    Rng rng(31, Purpose::test);
    output = rng.normal({3, 4}, DType::f64);
    xt = rng.normal({3, 4}, DType::f64);
    noise = rng.normal({3, 4}, DType::f64);
  }
};

// x_{t−1} = 1/√α_t (x_t − (1−α_t)/√(1−ᾱ_t) ε_θ) + σ_t z, with σ_t² = β_t or β̃_t.
TEST(Ddpm, Algorithm2AsPrinted) {
  const OneStep o;
  for (const Variance variance : {Variance::fixed_small, Variance::fixed_large})
    for (const std::int64_t t : {0, 1, 400, 999}) {
      const Variant v{Sampler::ddpm, 0, variance};
      const Tensor got = v.step(o.s, o.output, t, t - 1, o.xt, o.noise).x_prev;
      const double alpha = o.s.alpha[static_cast<std::size_t>(t)], bar = o.s.alpha_bar_at(t);
      const double small = (1 - o.s.alpha_bar_at(t - 1)) / (1 - bar) * (1 - alpha);
      const double sigma =
          t == 0 ? 0 : std::sqrt(variance == Variance::fixed_small ? small : 1 - alpha);
      for (int i = 0; i < 12; ++i) {
        const double x = o.xt.data<double>()[i], eps = o.output.data<double>()[i];
        const double want = (x - (1 - alpha) / std::sqrt(1 - bar) * eps) / std::sqrt(alpha) +
                            sigma * o.noise.data<double>()[i];
        EXPECT_NEAR(got.data<double>()[i], want, 1e-11) << t;
      }
    }
}

// With the true x_0 and ε, the step without noise lands on the same picture with less of the same
// ε.
TEST(Ddim, Equation12FollowsOneNoiseAllTheWay) {
  const OneStep o;
  const Tensor& x0 = o.output;
  const Tensor& eps = o.noise;
  const Tensor xt = q_sample(o.s, x0, times(3, 700), eps);
  for (const Prediction* kind : Prediction::all) {
    const Variant v{Sampler::ddim, 0, Variance::fixed_small, *kind};
    const Tensor out = target(*kind, o.s, x0, eps, times(3, 700));
    const Tensor at_200 = v.step(o.s, out, 700, 200, xt, Tensor()).x_prev;
    EXPECT_LT(max_difference(at_200, q_sample(o.s, x0, times(3, 200), eps)), 1e-12);
    EXPECT_LT(max_difference(v.step(o.s, out, 700, -1, xt, Tensor()).x_prev, x0), 1e-12);
  }
}

TEST(Ddim, Equation12AsPrinted) {
  const OneStep o;
  const Variant v{Sampler::ddim, 0.5, Variance::fixed_small};
  const Tensor got = v.step(o.s, o.output, 700, 200, o.xt, o.noise).x_prev;
  const double bar = o.s.alpha_bar_at(700), prev = o.s.alpha_bar_at(200);
  const double sigma = 0.5 * std::sqrt((1 - prev) / (1 - bar)) * std::sqrt(1 - bar / prev);
  for (int i = 0; i < 12; ++i) {
    const double x = o.xt.data<double>()[i], eps = o.output.data<double>()[i];
    const double want = std::sqrt(prev) * (x - std::sqrt(1 - bar) * eps) / std::sqrt(bar) +
                        std::sqrt(1 - prev - sigma * sigma) * eps +
                        sigma * o.noise.data<double>()[i];
    EXPECT_NEAR(got.data<double>()[i], want, 1e-12);
  }
}

// "When σ_t = ... for all t, the forward process becomes Markovian, and the generative process
// becomes a DDPM" (Song 2020, section 4.1).
TEST(Ddim, Equation16AtEtaOneIsDdpm) {
  const OneStep o;
  for (const auto& [t, prev] : {std::pair{0, -1}, {1, 0}, {20, -1}, {700, 200}, {999, 998}}) {
    const Variant ddim{Sampler::ddim, 1, Variance::fixed_small};
    const Variant ddpm{Sampler::ddpm, 0, Variance::fixed_small};
    EXPECT_LT(max_difference(ddim.step(o.s, o.output, t, prev, o.xt, o.noise).x_prev,
                             ddpm.step(o.s, o.output, t, prev, o.xt, o.noise).x_prev),
              1e-11);
  }
}

TEST(Steps, ClipTheEstimateAndLeaveTheNetworksAnswerAlone) {
  const OneStep o;
  for (const Prediction* kind : Prediction::all) {
    Variant v{Sampler::ddim, 0, Variance::fixed_small, *kind};
    SchedulerConfig c = v.config(1000);
    c.clip_sample = true;
    c.clip_sample_range = 0.25;
    const Tensor before = o.output.clone();
    const Step step = one_step(o.s, c, 0, o.output, 700, 200, o.xt);
    EXPECT_NEAR(max_difference(step.x0, Tensor::zeros({3, 4}, DType::f64)), 0.25, 1e-15);
    EXPECT_EQ(max_difference(o.output, before), 0);
  }
}

// Imagen, section 2.3: each picture by its own quantile, the ends of [−1, 1] where it was cut off; between them
// as it was, divided by s.
TEST(Steps, DynamicThresholdingTakesTheQuantileOfEachPicture) {
  SchedulerConfig c;
  c.thresholding = true;
  c.dynamic_thresholding_ratio = 0.75;
  c.sample_max_value = 3;
  Tensor x0 = Tensor::from<double>({4, 5}, {0,   0.1, -0.2, 0.3,  0.4,   // s = 1: as it is
                                            0,   -1,  2,    -2.5, 8,     // s = 2.5
                                            9,   9,   -9,   9,    9,     // s = 3, the most
                                            0.5, -1,  1.5,  0.25, -3});  // s = 1.5
  clip(x0, c);
  const double want[] = {0, 0.1, -0.2, 0.3, 0.4, 0,       -0.4,     0.8, -1,      1,
                         1, 1,   -1,   1,   1,   1 / 3.0, -2 / 3.0, 1,   1 / 6.0, -1};
  for (int i = 0; i < 20; ++i) EXPECT_NEAR(x0.data<double>()[i], want[i], 1e-15) << i;
}

// x̂_0 = ±1 after clipping, and then ε̂ is what lies between it and x_t.
TEST(Steps, NoiseIsComputedAnewFromTheClippedEstimate) {
  const OneStep o;
  SchedulerConfig c = Variant{Sampler::ddim, 0, Variance::fixed_small}.config(1000);
  c.clip_sample = true;
  const double bar = o.s.alpha_bar_at(700), prev = o.s.alpha_bar_at(200);
  for (const bool anew : {false, true}) {
    c.use_clipped_model_output = anew;
    const Tensor got = one_step(o.s, c, 0, o.output, 700, 200, o.xt).x_prev;
    int clipped = 0;
    for (int i = 0; i < 12; ++i) {
      const double xt = o.xt.data<double>()[i], eps = o.output.data<double>()[i];
      const double raw = (xt - std::sqrt(1 - bar) * eps) / std::sqrt(bar);
      const double x0 = std::clamp(raw, -1.0, 1.0);
      clipped += x0 != raw;
      const double noise = anew ? (xt - std::sqrt(bar) * x0) / std::sqrt(1 - bar) : eps;
      EXPECT_NEAR(got.data<double>()[i], std::sqrt(prev) * x0 + std::sqrt(1 - prev) * noise, 1e-12);
    }
    EXPECT_GE(clipped, 6);
  }
}

TEST(Steps, TheLastDdimStepMayEndAtAlphaBarOfZero) {
  const OneStep o;
  SchedulerConfig c = Variant{Sampler::ddim, 0, Variance::fixed_small}.config(1000);
  c.set_alpha_to_one = false;
  EXPECT_LT(max_difference(one_step(o.s, c, 0, o.output, 0, -20, o.xt).x_prev, o.xt), 1e-14);
  const Tensor x0 = one_step(o.s, c, 0, o.output, 20, -20, o.xt).x0;
  EXPECT_LT(max_difference(one_step(o.s, c, 0, o.output, 20, -20, o.xt).x_prev,
                           q_sample(o.s, x0, times(3, 0), o.output)),
            1e-12);
}

// The noise of a picture: the streams that sampler.h promises.
Tensor noise_of(const Tensor& x, std::uint64_t seed, std::uint64_t first, std::uint64_t step) {
  Tensor z(x.shape(), x.dtype());
  for (std::int64_t n = 0; n < x.dim(0); ++n)
    z.slice(n, n + 1).copy_from(
        Rng(seed, Purpose::sample_step, (first + static_cast<std::uint64_t>(n)) * 1048576 + step)
            .normal(x.shape().with(0, 1), x.dtype()));
  return z;
}

// The chain is its steps.
TEST(Sample, IsItsStepsInOrder) {
  const Schedule s = Schedule::cosine(100);
  const Tensor x_T = Rng(41, Purpose::sample_start).normal({4, 3, 3, 1});
  for (const Variant& v : kVariants) {
    const Denoiser net = [](const Tensor& xt, std::int64_t t) {
      return guided(xt, Tensor::full(xt.shape(), static_cast<double>(t) / 100), 0.9);
    };
    std::vector<std::int64_t> seen;
    Tensor last;
    const SampleOptions options = {.config = v.config(100),
                                   .steps = 10,
                                   .eta = v.eta,
                                   .seed = 42,
                                   .first_picture = 7,
                                   .on_step = [&](const Progress& p) {
                                     EXPECT_EQ(p.step, static_cast<std::int64_t>(seen.size()));
                                     EXPECT_EQ(p.x0.shape(), x_T.shape());
                                     seen.push_back(static_cast<std::int64_t>(p.t));
                                     last = p.x;
                                   }};
    const SchedulerConfig config = v.config(100);
    Tensor x = x_T;
    const std::vector<std::int64_t> ts = timesteps(config, 10);
    for (std::size_t i = 0; i < ts.size(); ++i) {
      const Tensor z = noise_of(x, 42, 7, i);
      const std::int64_t prev = i + 1 < ts.size() ? ts[i + 1] : -10;
      x = v.step(s, net(x, ts[i]), ts[i], prev, x, z).x_prev;
    }
    const Tensor start = x_T.clone();
    const Tensor got = sample(s, options, net, x_T);
    EXPECT_EQ(max_difference(got, x), 0) << v.str();
    EXPECT_EQ(max_difference(got, last), 0);
    EXPECT_EQ(max_difference(start, x_T), 0);
    EXPECT_EQ(seen, ts);
  }
}

TEST(Sampler, EvaluationsAreCounted) {
  SchedulerConfig config;
  config.timestep_spacing = Spacing::trailing;
  const Schedule s = make_schedule(config);
  const std::tuple<const Sampler*, std::int64_t, std::int64_t> rows[] = {
      {&Sampler::ddim, 10, 10},   {&Sampler::dpmpp_2m, 7, 7},       {&Sampler::heun, 10, 19},
      {&Sampler::midpoint, 1, 2}, {&Sampler::midpoint, 1000, 1999}, {&Sampler::rk4, 5, 18},
      {&Sampler::plms, 4, 5}};
  for (const auto& [sampler, steps, count] : rows) {
    config.sampler = *sampler;
    EXPECT_EQ(evaluations(s, {.config = config, .steps = steps}), count) << sampler->name;
  }
}

}  // namespace
}  // namespace sfumato::diffusion
