// Learned variances: runs of diffusers, and the bound against KL divergences of Gaussians in float64.
#include "diffusion/reverse_variance.h"

#include <cmath>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "autograd/gradcheck.h"
#include "diffusion/bound.h"
#include "diffusion/forward.h"
#include "diffusion/loss.h"
#include "diffusion/sampler.h"
#include "tensor/io/json.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;

// ---- diffusers: tests/golden/make_learned.py says what network and noise are.

Tensor formula_output(const Tensor& x, double t) {
  Tensor output({1, 1, 1, 6}, DType::f64);
  for (std::int64_t k = 0; k < 3; ++k) {
    const auto c = static_cast<double>(k);
    output.data<double>()[k] = 0.3 * x.data<double>()[k] + 0.2 * std::cos(c + t / 200);
    output.data<double>()[3 + k] = std::sin(c + t / 100);
  }
  return output;
}

Tensor formula_noise(std::int64_t step, const Tensor& x) {
  Tensor z(x.shape(), DType::f64);
  const auto c = static_cast<double>(step);
  for (std::int64_t k = 0; k < 3; ++k)
    z.data<double>()[k] =
        std::numbers::sqrt2 * std::cos(1 + 3 * c + static_cast<double>(k) * (c + 1));
  return z;
}

TEST(ReverseVariance, RunsAsInDiffusers) {
  const io::Json runs =
      io::read_json(std::filesystem::path(SFUMATO_SOURCE_DIR) / "tests/golden/learned.json");
  EXPECT_EQ(runs.size(), 54);
  for (const io::Json& run : runs) {
    SampleOptions o{.steps = run.at("steps")};
    o.config.variance_type = Variance::learned_range;
    o.config.clip_sample = false;
    o.config.timestep_spacing = parse_spacing(run.at("spacing").get<std::string>());
    o.config.prediction_type = parse_prediction(run.at("prediction").get<std::string>());
    Chain chain = make_chain(make_schedule(o.config), o, formula_output);
    chain.noise = formula_noise;
    const Tensor x = walk(chain, f64({1, 1, 1, 3}, {0.3, -1.2, 0.7}));
    const auto want = run.at("x").get<std::vector<double>>();
    for (std::size_t k = 0; k < 3; ++k)  // its tables are float32
      EXPECT_NEAR(x.data<double>()[k], want[k], 1e-5 * std::max(1.0, std::abs(want[k])))
          << run.dump();
  }
}

// The fixed variances are the ends of the range.
TEST(ReverseVariance, EndsAreTheFixedOnes) {
  for (const auto& [end, fixed] :
       {std::pair(-1.0, Variance::fixed_small), std::pair(1.0, Variance::fixed_large)}) {
    SampleOptions o{.steps = 10, .seed = 3};
    o.config.clip_sample = false;
    o.config.variance_type = fixed;
    const Schedule schedule = make_schedule(o.config);
    const Tensor x_T = Rng(1).normal({2, 2}, DType::f64);
    const Denoiser answer = [](const Tensor& x, double) -> Tensor { return 0.5 * x; };
    const Tensor want = sample(schedule, o, answer, x_T);
    o.config.variance_type = Variance::learned_range;
    const Denoiser learned = [&, end = end](const Tensor& x, double t) {
      const Tensor a = answer(x, t);
      Tensor output({2, 4}, DType::f64);
      for (std::int64_t i = 0; i < 4; ++i) {
        output.data<double>()[i / 2 * 4 + i % 2] = a.data<double>()[i];
        output.data<double>()[i / 2 * 4 + 2 + i % 2] = end;
      }
      return output;
    };
    EXPECT_LT(max_difference(sample(schedule, o, learned, x_T), want), 1e-12);
    // DDIM needs no variance.
    o.config.sampler = Sampler::ddim;
    EXPECT_EQ(max_difference(sample(schedule, o, learned, x_T), sample(schedule, o, answer, x_T)),
              0);
  }
}

// ---- The bound

// Of data N(0, I) the best Σ is β_t, and of one point β̃_t (DDPM, section 3.2): there the KL is 0.
TEST(ReverseVariance, BestIsBetaForNormalDataAndPosteriorForAPoint) {
  const Schedule schedule = Schedule::linear(50, 0.001, 0.2);
  for (std::int64_t t = 1; t < 50; ++t) {
    const NoiseLevel s = schedule.level(t - 1), here = schedule.level(t);
    // E (x_0 − x̂_0)² = 1 − ᾱ_t for the best x̂_0 = √ᾱ_t x_t.
    const double best_r = std::log1p((s.snr() - here.snr()) * here.noise_variance);
    EXPECT_NEAR(best_r, log_variance_range(schedule, t), 1e-9) << t;
  }
}

// KL(N(m, v) ‖ N(n, w)) of one number.
double kl(double m, double v, double n, double w) {
  return 0.5 * (std::log(w / v) - 1 + (v + (m - n) * (m - n)) / w);
}

void expect_message(const std::function<void()>& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "nothing thrown, expected: " << part;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

struct Answered {
  Schedule schedule = Schedule::linear(20, 0.001, 0.3);
  Tensor x0 = f64({1, 1, 1, 3}, {-1, 2 * 100 / 255.0 - 1, 1}), eps, answer, variance;
  Answered() {
    eps = Rng(1).normal(x0.shape(), DType::f64);
    answer = f64(x0.shape(), {0.3, -0.9, 1.4});
    variance = f64(x0.shape(), {-0.8, 0.1, 0.9});
  }
};

// Φ in Page's approximation.
double below(double z) {
  return 0.5 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (z + 0.044715 * z * z * z)));
}

TEST(ReverseVariance, BoundIsTheKlOfThePosteriors) {
  const Answered c;
  const std::int64_t T = c.schedule.steps();
  for (const Prediction* prediction : Prediction::all) {
    const BoundLoss bound(*prediction, c.schedule);
    for (std::int64_t step = 0; step < T; ++step) {
      const Tensor t = Tensor::full({1}, static_cast<double>(step), DType::i64);
      const Tensor xt = q_sample(c.schedule, c.x0, t, c.eps);
      const Tensor x0_hat = to_x0(*prediction, c.schedule, c.answer, xt, t);
      double nats = 0;
      for (std::int64_t k = 0; k < 3; ++k) {
        const double x0 = c.x0.data<double>()[k], guess = x0_hat.data<double>()[k];
        const double v = (c.variance.data<double>()[k] + 1) / 2, x = xt.data<double>()[k];
        const std::int64_t at = std::max<std::int64_t>(step, 1);
        const double small =
            posterior_weights(c.schedule.level(at - 1), c.schedule.level(at)).variance;
        const double sigma2 =
            std::exp(v * std::log(c.schedule.beta[step]) + (1 - v) * std::log(small));
        const PosteriorWeights q =
            posterior_weights(c.schedule.level(step - 1), c.schedule.level(step));
        const double low = k == 0 ? 0 : below((x0 - 1 / 255.0 - guess) / std::sqrt(sigma2));
        const double high = k == 2 ? 1 : below((x0 + 1 / 255.0 - guess) / std::sqrt(sigma2));
        nats += step == 0 ? -std::log(std::max(high - low, 1e-12))
                          : kl(q.x0 * x0 + q.xt * x, q.variance, q.x0 * guess + q.xt * x, sigma2);
      }
      const double got = bound(Var(c.answer), Var(c.variance),
                               target(*prediction, c.schedule, c.x0, c.eps, t), t, c.x0)
                             .value()
                             .item();
      const double want = nats / 3 / std::numbers::ln2 * static_cast<double>(T);
      EXPECT_NEAR(got / want, 1, 1e-6) << prediction->name << " t = " << step;
    }
  }
}

TEST(ReverseVariance, GradientOfTheBound) {
  const Answered c;
  const BoundLoss bound(Prediction::v, c.schedule);
  Tensor x0({3, 1, 1, 3}, DType::f64);
  for (std::int64_t n = 0; n < 3; ++n) x0.slice(n, n + 1).copy_from(c.x0);
  const Tensor t = Tensor::from<std::int64_t>({3}, {0, 1, 17});
  // Near the target, where the probability of a pixel at t = 0 is no round-off.
  const Tensor want =
      target(Prediction::v, c.schedule, x0, Rng(1).normal(x0.shape(), DType::f64), t);
  const Tensor answer = 1.0 * want + 0.01 * Rng(2).normal(x0.shape(), DType::f64);
  EXPECT_LT(
      gradcheck("bound", [&](std::span<const Var> in) { return bound(in[0], in[1], want, t, x0); },
                {answer, Rng(3).normal(x0.shape(), DType::f64)}),
      1e-5);
}

// The estimate T L_t, over all t, is the bound without its prior. (pixels: Φ exactly there.)
TEST(ReverseVariance, LossIsAnEstimateOfTheBound) {
  const Answered c;
  const std::int64_t T = c.schedule.steps();
  const Denoiser network = [&](const Tensor& x, double) {
    Tensor output({1, 1, 1, 6}, DType::f64);
    for (std::int64_t k = 0; k < 3; ++k) {
      output.data<double>()[k] = 0.9 * x.data<double>()[k];  // x̂_0
      output.data<double>()[3 + k] = c.variance.data<double>()[k];
    }
    return output;
  };
  const VariationalBound bound =
      variational_bound(c.schedule, Prediction::x0, network, c.x0, {.seed = 7});
  const BoundLoss loss(Prediction::x0, c.schedule);
  double sum = 0;
  for (std::int64_t step = 1; step < T; ++step) {
    const Tensor t = Tensor::full({1}, static_cast<double>(step), DType::i64);
    const Tensor eps =
        Rng(7, Purpose::noise, static_cast<std::uint64_t>(step)).normal(c.x0.shape(), DType::f64);
    const Var output(network(q_sample(c.schedule, c.x0, t, eps), 0));
    sum += loss(answer_in(output, 3), variance_in(output, 3), c.x0, t, c.x0).value().item() /
           static_cast<double>(T);
  }
  EXPECT_NEAR(sum, bound.bits(1, T), 1e-9);
}

// ---- The loss

TEST(ReverseVariance, HybridTeachesTheAnswerByTheSimpleLossAlone) {
  const Answered c;
  const Tensor t = Tensor::full({1}, 5.0, DType::i64);
  const Tensor want = target(Prediction::v, c.schedule, c.x0, c.eps, t);
  const auto gradients = [&](const ReverseVariance& row) {
    Tensor both({1, 1, 1, 6}, DType::f64);
    for (std::int64_t k = 0; k < 3; ++k) {
      both.data<double>()[k] = c.answer.data<double>()[k];
      both.data<double>()[3 + k] = c.variance.data<double>()[k];
    }
    Var output(both, true);
    const Loss loss(LossFunction::mse, LossWeight::constant, Prediction::v, c.schedule, row);
    loss(output, want, t, c.x0).backward();
    return output.grad();
  };
  const Tensor hybrid = gradients(ReverseVariance::hybrid);
  const Tensor variational = gradients(ReverseVariance::variational);
  for (std::int64_t k = 0; k < 3; ++k) {
    const double miss = c.answer.data<double>()[k] - want.data<double>()[k];
    EXPECT_NEAR(hybrid.data<double>()[k], 2 * miss / 3, 1e-12);
    EXPECT_NEAR(hybrid.data<double>()[3 + k], 0.001 * variational.data<double>()[3 + k], 1e-12);
    EXPECT_GT(std::abs(variational.data<double>()[k] - 2 * miss / 3), 1e-3);
  }
}

TEST(ReverseVariance, AnOutputWithoutVarianceIsRefused) {
  const Answered c;
  const Tensor t = Tensor::full({1}, 5.0, DType::i64);
  const Loss loss(LossFunction::mse, LossWeight::constant, Prediction::v, c.schedule,
                  ReverseVariance::hybrid);
  expect_message([&] { loss(Var(c.answer), c.x0, t, c.x0); },
                 "a learned variance needs an output of 6 channels, got 3");
  SampleOptions o{.steps = 2};
  o.config.variance_type = Variance::learned_range;
  expect_message(
      [&] {
        sample(
            make_schedule(o.config), o, [](const Tensor& x, double) { return x; },
            f64({1, 3}, {0, 0, 0}));
      },
      "learned_range needs a network of twice as many channels");
}

}  // namespace
}  // namespace sfumato::diffusion
