#include "diffusion/objective.h"

#include "diffusion/forward.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;
using testing::times;

// Four images at four times, and what they are made of.
struct Batch {
  Schedule schedule = Schedule::cosine(100);
  Tensor x0, eps, t, xt;
  explicit Batch(DType dtype = DType::f64) {
    Rng rng(3, Purpose::test);
    x0 = rng.normal({4, 3, 2}, dtype);
    eps = rng.normal({4, 3, 2}, dtype);
    t = Tensor::from<std::int64_t>({4}, {0, 13, 50, 98});
    xt = q_sample(schedule, x0, t, eps);
  }
};

TEST(Prediction, EveryKindOfTargetGivesBackDataAndNoise) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Batch b(dtype);
    const double tolerance = dtype == DType::f64 ? 1e-12 : 1e-4;  // x_0 is 1/60 of x_t at t = 98
    for (const Prediction* kind : Prediction::all) {
      const Tensor output = target(*kind, b.schedule, b.x0, b.eps, b.t);
      EXPECT_EQ(output.dtype(), dtype);
      EXPECT_LT(max_difference(to_x0(*kind, b.schedule, output, b.xt, b.t), b.x0), tolerance);
      EXPECT_LT(max_difference(to_eps(*kind, b.schedule, output, b.xt, b.t), b.eps), tolerance);
    }
  }
}

TEST(Prediction, AnyOutputOfOneKindIsTheSameAnswerInTheOthers) {
  const Batch b;
  const Tensor output = Rng(4, Purpose::test).normal(b.x0.shape(), DType::f64);
  for (const Prediction* from : Prediction::all) {
    const Tensor x0 = to_x0(*from, b.schedule, output, b.xt, b.t);
    const Tensor eps = to_eps(*from, b.schedule, output, b.xt, b.t);
    EXPECT_LT(max_difference(q_sample(b.schedule, x0, b.t, eps), b.xt), 1e-12);
    for (const Prediction* to : Prediction::all) {
      const Tensor other = target(*to, b.schedule, x0, eps, b.t);
      EXPECT_LT(max_difference(to_x0(*to, b.schedule, other, b.xt, b.t), x0), 1e-11);
      EXPECT_LT(max_difference(to_eps(*to, b.schedule, other, b.xt, b.t), eps), 1e-11);
    }
  }
}

TEST(Ddpm, Equation15EstimatesTheDataFromTheNoise) {
  const Schedule s = Schedule::linear();
  const double bar = s.alpha_bar_at(300);
  const Tensor got = to_x0(Prediction::eps, s, f64({1}, {0.4}), f64({1}, {1.3}), times(1, 300));
  EXPECT_NEAR(got.item(), (1.3 - std::sqrt(1 - bar) * 0.4) / std::sqrt(bar), 1e-14);
}

// Salimans & Ho 2022, appendix D: with √ᾱ = cos φ and √(1−ᾱ) = sin φ, z_φ = cos φ x + sin φ ε and
// v = dz_φ/dφ = cos φ ε − sin φ x; from (z, v) one turns back to x = cos φ z − sin φ v and
// ε = sin φ z + cos φ v.
TEST(ProgressiveDistillation, AppendixDVelocityIsARotation) {
  const Schedule s = Schedule::linear();
  for (const std::int64_t t : {0, 100, 999}) {
    const double phi = std::acos(std::sqrt(s.alpha_bar_at(t))), x = 0.8, eps = -0.3;
    const double v = target(Prediction::v, s, f64({1}, {x}), f64({1}, {eps}), times(1, t)).item();
    EXPECT_NEAR(v, std::cos(phi) * eps - std::sin(phi) * x, 1e-12);
    const double z = std::cos(phi) * x + std::sin(phi) * eps;
    EXPECT_NEAR(z * z + v * v, x * x + eps * eps, 1e-12);
    const Tensor zt = f64({1}, {z}), vt = f64({1}, {v});
    EXPECT_NEAR(to_x0(Prediction::v, s, vt, zt, times(1, t)).item(),
                std::cos(phi) * z - std::sin(phi) * v, 1e-12);
    EXPECT_NEAR(to_eps(Prediction::v, s, vt, zt, times(1, t)).item(),
                std::sin(phi) * z + std::cos(phi) * v, 1e-12);
  }
}

// Salimans & Ho 2022, section 4: an error in ε is an error in x_0 scaled by the signal-to-noise
// ratio, ‖ε − ε̂‖² = SNR ‖x_0 − x̂_0‖². So the kinds differ in how they weight the timesteps only.
TEST(ProgressiveDistillation, NoiseLossIsDataLossTimesSnr) {
  const Schedule s = Schedule::linear();
  for (const std::int64_t t : {0, 100, 700}) {
    const Tensor xt = f64({1}, {0.2});
    const auto x0 = [&](double eps) {
      return to_x0(Prediction::eps, s, f64({1}, {eps}), xt, times(1, t)).item();
    };
    EXPECT_NEAR(std::pow(x0(0.5) - x0(0.1), 2) * s.level(t).snr(), 0.16, 1e-9);
  }
}

TEST(ClassifierFreeGuidance, Equation6) {
  const Tensor cond = f64({2}, {1, -2}), uncond = f64({2}, {0.5, 3});
  EXPECT_EQ(max_difference(guided(cond, uncond, 1), cond), 0);
  EXPECT_EQ(max_difference(guided(cond, uncond, 0), uncond), 0);
  EXPECT_LT(max_difference(guided(cond, uncond, 3), f64({2}, {0.5 + 3 * 0.5, 3 - 3 * 5})), 1e-14);
  // As printed, with the paper's w = 2: (1 + w) ε_c − w ε_u.
  EXPECT_LT(max_difference(guided(cond, uncond, 3), f64({2}, {3 - 2 * 0.5, -6 - 2 * 3})), 1e-14);
}

TEST(ClassifierFreeGuidance, IsTheSameForEveryKindOfOutput) {
  const Batch b;
  Rng rng(5, Purpose::test);
  const Tensor eps_c = rng.normal(b.x0.shape(), DType::f64);
  const Tensor eps_u = rng.normal(b.x0.shape(), DType::f64);
  const auto as = [&](const Prediction& kind, const Tensor& eps) {
    const Tensor x0 = to_x0(Prediction::eps, b.schedule, eps, b.xt, b.t);
    return target(kind, b.schedule, x0, eps, b.t);
  };
  const Tensor want = guided(eps_c, eps_u, 2.5);
  for (const Prediction* kind : Prediction::all) {
    const Tensor output = guided(as(*kind, eps_c), as(*kind, eps_u), 2.5);
    EXPECT_LT(max_difference(to_eps(*kind, b.schedule, output, b.xt, b.t), want), 1e-11);
  }
}

TEST(Prediction, NamesGoBothWays) {
  for (const Prediction* kind : Prediction::all) {
    EXPECT_EQ(parse_prediction(kind->name), *kind);
    EXPECT_EQ(parse_prediction(kind->diffusers), *kind);
  }
  EXPECT_EQ(parse_prediction("epsilon"), Prediction::eps);
  EXPECT_EQ(parse_prediction("sample"), Prediction::x0);
  EXPECT_EQ(parse_prediction("v_prediction"), Prediction::v);
}

}  // namespace
}  // namespace sfumato::diffusion
