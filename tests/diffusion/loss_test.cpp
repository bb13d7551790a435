// Loss functions and weights: against the papers' formulas, and one weight before errors of different predictions.
#include "diffusion/loss.h"

#include <cmath>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;

// w before the error of what `prediction` answers, at timestep t of the cosine schedule.
double weight_at(const LossWeight& weight, const Prediction& prediction, std::int64_t t) {
  return loss_weights(weight, prediction, Schedule::cosine()).at(static_cast<std::size_t>(t));
}

// Min-SNR-γ (Hang 2023), section 3.4: min(SNR, 5) for x_0, min(5 / SNR, 1) for ε, min(SNR, 5) / (SNR + 1) for v. P2 (Choi 2022)
// for ε. Salimans & Ho 2022, section 4, for x_0.
TEST(LossWeights, AreThePapers) {
  for (const std::int64_t t : {0, 3, 200, 500, 800, 990}) {
    const double snr = Schedule::cosine().level(t).snr();
    const auto expect = [&](const LossWeight& weight, const Prediction& prediction, double want) {
      EXPECT_NEAR(weight_at(weight, prediction, t) / want, 1, 1e-9) << weight.name << " " << t;
    };
    expect(LossWeight::min_snr, Prediction::x0, std::min(snr, 5.0));
    expect(LossWeight::min_snr, Prediction::eps, std::min(5 / snr, 1.0));
    expect(LossWeight::min_snr, Prediction::v, std::min(snr, 5.0) / (snr + 1));
    expect(LossWeight::p2, Prediction::eps, 1 / (1 + snr));
    expect(LossWeight::snr, Prediction::x0, snr);
    expect(LossWeight::snr, Prediction::eps, 1);
    expect(LossWeight::truncated_snr, Prediction::x0, std::max(snr, 1.0));
    expect(LossWeight::v, Prediction::x0, snr + 1);
    expect(LossWeight::v, Prediction::v, 1);
    // EDM's weight makes the error of F count 1, and is (σ² + ¼) / (σ/2)² before that of x_0.
    expect(LossWeight::edm, Prediction::x0, (1 / snr + 0.25) / (0.25 / snr));
    expect(LossWeight::edm, Prediction::edm, 1);
  }
  const Schedule edm = Schedule::make(BetaSchedule::karras, 100, 0, 0);
  for (const double w : loss_weights(LossWeight::edm, Prediction::edm, edm))
    EXPECT_NEAR(w, 1, 1e-9);
}

// The bound's sum, ½ Σ (SNR(t−1) − SNR(t)) ‖x_0 − x̂_0‖², as the mean over t of w_t ‖x_0 − x̂_0‖²: where steps are short.
TEST(LossWeights, OfTheBoundAreDifferencesOfSnr) {
  const Schedule s = Schedule::linear();
  const std::vector<double> w = loss_weights(LossWeight::elbo, Prediction::x0, s);
  for (std::int64_t t = 100; t < s.steps(); ++t) {
    const double difference = (s.level(t - 1).snr() - s.level(t).snr()) / 2;
    EXPECT_NEAR(w[static_cast<std::size_t>(t)] / 1000 / difference, 1, 0.02) << t;
  }
  const std::vector<double> cut = loss_weights(LossWeight::sigmoid, Prediction::x0, s);
  for (std::size_t t = 1; t < 1000; ++t)
    EXPECT_NEAR(cut[t] / w[t], 1 / (1 + s.level(static_cast<std::int64_t>(t)).snr() / std::exp(2)),
                1e-9);
}

// w ‖target − output‖² does not depend on what is predicted: all are w_ε ‖ε − ε̂‖².
TEST(LossWeights, MeanTheSameForEveryPrediction) {
  const Tensor x0 = Rng(1).normal({4, 3}, DType::f64), eps = Rng(2).normal({4, 3}, DType::f64);
  const Tensor guess = Rng(3).normal({4, 3}, DType::f64);
  const Tensor t = Tensor::from<std::int64_t>({4}, {1, 300, 600, 998});
  for (const BetaSchedule* row :
       {&BetaSchedule::linear, &BetaSchedule::flow, &BetaSchedule::karras}) {
    const Schedule s = Schedule::make(*row, 1000, 1e-4, 0.02);
    const Tensor xt = q_sample(s, x0, t, eps);
    // The answer that says x̂_0 = guess, in the words of each prediction.
    const Tensor eps_hat = to_eps(Prediction::x0, s, guess, xt, t);
    for (const LossWeight* weight : LossWeight::all) {
      if (!weight->on_eps) continue;
      const auto loss = [&](const Prediction& prediction) {
        const Tensor output = target(prediction, s, guess, eps_hat, t);
        return Loss(LossFunction::mse, *weight, prediction, s)(Var(output),
                                                               target(prediction, s, x0, eps, t), t)
            .value()
            .item();
      };
      const double want = loss(Prediction::eps);
      for (const Prediction* prediction : Prediction::all)
        EXPECT_NEAR(loss(*prediction) / want, 1, 1e-7)
            << weight->name << " " << prediction->name << " " << row->name;
    }
  }
}

TEST(LossWeights, AreFiniteWithoutSignal) {
  const Schedule s = Schedule::linear().with_zero_terminal_snr();
  for (const LossWeight* weight : LossWeight::all)
    for (const Prediction* prediction : {&Prediction::v, &Prediction::x0, &Prediction::flow})
      for (const double w : loss_weights(*weight, *prediction, s)) {
        EXPECT_TRUE(std::isfinite(w)) << weight->name << " " << prediction->name;
        EXPECT_GE(w, 0);
      }
}

TEST(Loss, OfConstantWeightIsTheMeanSquare) {
  const Schedule s = Schedule::cosine();
  const Tensor a = Rng(1).normal({3, 5, 5, 2}), b = Rng(2).normal({3, 5, 5, 2});
  const Tensor t = Tensor::from<std::int64_t>({3}, {0, 500, 999});
  const Loss loss(LossFunction::mse, LossWeight::constant, Prediction::v, s);
  EXPECT_EQ(loss(Var(a), b, t).value().item(), mse(Var(a), Var(b)).value().item());
  // A weight of 1 for each time is the same but for rounding.
  const Loss ones(LossFunction::mse, LossWeight::snr, Prediction::eps, s);
  EXPECT_NEAR(ones(Var(a), b, t).value().item(), mse(Var(a), Var(b)).value().item(), 1e-6);
}

// 2c (√(d² + c²) − c), c = 0.1: d² for small d, 2c |d| for large ones.
TEST(Loss, OfHuberIsQuadraticThenLinear) {
  const Tensor t = Tensor::zeros({1}, DType::i64);
  const Loss loss(LossFunction::huber, {});
  const auto at = [&](double d) {
    return loss(Var(f64({1, 1}, {d})), f64({1, 1}, {0}), t).value().item();
  };
  EXPECT_NEAR(at(1e-3) / 1e-6, 1, 1e-3);
  EXPECT_NEAR(at(100) / (0.2 * (100 - 0.1)), 1, 1e-5);
  EXPECT_NEAR(at(0.3), 0.2 * (std::sqrt(0.09 + 0.01) - 0.1), 1e-12);
}

// Of each picture: as if it were alone. With importance: their weighted mean.
TEST(Loss, OfImagesIsThatOfEachAlone) {
  const Schedule s = Schedule::cosine();
  const Tensor want = Rng(5).normal({3, 2, 2, 2}), x0 = Tensor::zeros({3, 2, 2, 2});
  const Tensor t = Tensor::from<std::int64_t>({3}, {0, 500, 999});
  const Tensor importance = Tensor::from<float>({3}, {0.5F, 2, 3});
  for (const ReverseVariance* variance : ReverseVariance::all)
    for (const LossFunction* function : LossFunction::all)
      for (const LossWeight* weight : {&LossWeight::constant, &LossWeight::min_snr}) {
        const Loss loss(*function, *weight, Prediction::v, s, *variance);
        const Tensor output = Rng(6).normal({3, 2, 2, variance->learned() ? 4 : 2});
        const Tensor each = loss.of_images(Var(output), want, t, x0).value();
        ASSERT_EQ(each.shape(), (Shape{3}));
        double mean = 0;
        for (std::int64_t n = 0; n < 3; ++n) {
          const auto row = [&](const Tensor& of) { return of.slice(n, n + 1); };
          const double alone = loss(Var(row(output)), row(want), row(t), row(x0)).value().item();
          EXPECT_NEAR(each.data<float>()[n] / alone, 1, 1e-5) << variance->name;
          mean += importance.data<float>()[n] * alone / 3;
        }
        const ByImage by_image{importance, Tensor({3})};
        const Var weighted = loss(Var(output), want, t, x0, by_image);
        EXPECT_NEAR(weighted.value().item() / mean, 1, 1e-5);
        EXPECT_EQ(testing::max_difference(by_image.losses, each), 0);
        EXPECT_EQ(loss(Var(output), want, t, x0, {}).value().item(),
                  loss(Var(output), want, t, x0).value().item());
      }
}

TEST(Loss, HasTheGradientOfItsValue) {
  const Tensor want = Rng(5).normal({2, 3}, DType::f64);
  const Tensor t = Tensor::from<std::int64_t>({2}, {200, 700});
  for (const LossFunction* function : LossFunction::all)
    for (const LossWeight* weight : {&LossWeight::constant, &LossWeight::min_snr}) {
      const Loss loss(*function, *weight, Prediction::v, Schedule::cosine());
      gradcheck("loss", [&](std::span<const Var> in) { return loss(in[0], want, t); },
                {Rng(6).normal({2, 3}, DType::f64)});
    }
}

}  // namespace
}  // namespace sfumato::diffusion
