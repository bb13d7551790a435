// The processes, continuous time, and the schedules that are not DDPM's.
#include "diffusion/path.h"

#include <numbers>

#include "diffusion/forward.h"
#include "diffusion/gaussian.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::max_difference;

TEST(Path, LevelsGoBothWays) {
  for (const Path* path : Path::all)
    for (const double log_snr : {-9.0, -1.0, 0.0, 2.5, 12.0}) {
      const NoiseLevel level = path->at_log_snr(log_snr);
      EXPECT_NEAR(level.log_snr(), log_snr, 1e-12) << path->name;
      EXPECT_NEAR(path->size(level), 1, 1e-15) << path->name;
      EXPECT_NEAR(path->at_alpha_bar(level.alpha_bar()).log_snr(), log_snr, 1e-9);
      EXPECT_NEAR(path->at_sigma(level.sigma()).log_snr(), log_snr, 1e-12);
      EXPECT_NEAR(path->at_time(path->time(level)).log_snr(), log_snr, 1e-9);
    }
  const NoiseLevel flow = Path::flow.at_sigma(3);  // t / (1 − t) = 3
  EXPECT_NEAR(flow.noise(), 0.75, 1e-15);
  EXPECT_NEAR(flow.signal(), 0.25, 1e-15);
  EXPECT_EQ(Path::variance_exploding.at_sigma(3).noise(), 3);
  EXPECT_EQ(Path::flow.at_alpha_bar(0).noise(), 1);
}

// DDPM's pairs stay as they are, to the last bit.
TEST(Path, OfDdpmChangesNothing) {
  const Schedule s = Schedule::linear();
  for (std::int64_t t = 0; t < s.steps(); ++t) {
    EXPECT_EQ(s.level(t).signal_variance, s.alpha_bar_at(t));
    EXPECT_EQ(s.level(t).noise_variance, 1 - s.alpha_bar_at(t));
  }
}

// dx/dtime of x = a x_0 + σ ε is the row's velocity.
TEST(Path, VelocityIsTheDerivative) {
  const Tensor x0 = Rng(1).normal({2, 3}, DType::f64), eps = Rng(2).normal({2, 3}, DType::f64);
  const double h = 1e-5;
  for (const Path* path : Path::all) {
    const NoiseLevel a = path->at_log_snr(0.3), b = path->at_log_snr(0.3 - h);
    const auto x = [&](const NoiseLevel& l) { return l.signal() * x0 + l.noise() * eps; };
    const double dt = path->time(b) - path->time(a);
    const Tensor slope = 1 / dt * x(b) - 1 / dt * x(a);
    const Tensor velocity = path->velocity->target(a.signal(), a.noise(), x0, eps);
    EXPECT_LT(max_difference(slope, velocity), 1e-4) << path->name;
  }
}

TEST(ContinuousTime, TimesGoBothWays) {
  for (const BetaSchedule* row : BetaSchedule::all) {
    const Schedule s = Schedule::make(*row, 1000, 1e-4, 0.02);
    for (const double t : {0.0, 0.25, 17.0, 499.5, 998.0, 998.75, 999.0}) {
      EXPECT_NEAR(s.time_at(s.level_at(t)), t, 1e-5) << row->name;
      EXPECT_NEAR(s.level_told(s.network_time(t)).alpha_bar(), s.level_at(t).alpha_bar(), 1e-12)
          << row->name << " " << t;
    }
    EXPECT_EQ(s.time_at(kNoNoise), 0);
    EXPECT_THROW(s.level_at(999.5), Error);
    EXPECT_THROW(s.level_at(-0.5), Error);
  }
}

TEST(Flow, IsTheStraightLine) {
  const Schedule s = Schedule::make(BetaSchedule::flow, 1000, 0, 0);
  for (const std::int64_t t : {0, 1, 499, 998, 999}) {
    const double u = static_cast<double>(t + 1) / 1000;
    EXPECT_NEAR(s.level(t).noise(), u, 1e-12);
    EXPECT_NEAR(s.level(t).signal(), 1 - u, 1e-12);
    EXPECT_NEAR(s.network_time(static_cast<double>(t)), 1000 * u, 1e-9);
  }
  EXPECT_NEAR(s.level_at(10.5).noise(), 0.0115, 1e-12);
  // t' = 3 t / (1 + 2 t)
  EXPECT_NEAR(s.shifted(3).level(499).noise(), 0.75, 1e-12);
  const Tensor told = s.shifted(3).network_time(testing::times(2, 499));
  EXPECT_EQ(told.dtype(), DType::f32);
  EXPECT_EQ(told.data<float>()[1], 750);
  const Tensor t = testing::times(2, 7);
  EXPECT_EQ(Schedule::linear().network_time(t).address(), t.address());
}

TEST(Edm, KarrasSigmas) {
  const Schedule s = Schedule::make(BetaSchedule::karras, 100, 0, 0);
  EXPECT_NEAR(s.level(99).noise(), 80, 1e-9);
  EXPECT_EQ(s.level(99).signal(), 1);
  EXPECT_NEAR(s.network_time(99), std::log(80) / 4, 1e-9);  // c_noise
  for (std::int64_t t = 1; t < 99; ++t)
    EXPECT_NEAR(
        2 * std::pow(s.level(t).noise(), 1 / 7.0),
        std::pow(s.level(t - 1).noise(), 1 / 7.0) + std::pow(s.level(t + 1).noise(), 1 / 7.0),
        1e-9);
}

// Lin 2023, algorithm 1: √ᾱ keeps its first value and ends at 0.
TEST(ZeroTerminalSnr, EndsWithoutSignal) {
  const Schedule s = Schedule::scaled_linear().with_zero_terminal_snr();
  EXPECT_EQ(s.alpha_bar.back(), 0);
  EXPECT_NEAR(s.alpha_bar.front(), Schedule::scaled_linear().alpha_bar.front(), 1e-15);
  SchedulerConfig config = {.rescale_betas_zero_snr = true};
  EXPECT_NE(combination_problem(config).find("expected one that predicts x0, v, flow, edm"),
            std::string::npos)
      << combination_problem(config);
  EXPECT_THROW(make_chain(make_schedule(config), {.config = config}, {}), Error);
  config.prediction_type = Prediction::v;
  EXPECT_EQ(combination_problem(config), "");
}

// What sigmoid_beta_schedule(1000) of denoising-diffusion-pytorch 2.2.5 gives.
TEST(Schedules, SigmoidAlphaIsLucidrains) {
  const Schedule s = make_schedule({.beta_schedule = BetaSchedule::sigmoid_alpha});
  EXPECT_NEAR(s.alpha_bar[0] / 0.9996997208, 1, 1e-6);
  EXPECT_NEAR(s.alpha_bar[500] / 0.4983428218, 1, 1e-5);
  EXPECT_NEAR(s.alpha_bar[998] / 0.0003002869868, 1, 1e-4);
  EXPECT_NEAR(s.alpha_bar[999] / 3.002869868e-07, 1, 1e-4);
}

// What the schedulers of diffusers 0.42.1 hold as alphas_cumprod (DDPMScheduler; "exp": HeunDiscreteScheduler).
TEST(Schedules, AreThoseOfDiffusers) {
  const struct {
    const BetaSchedule& row;
    bool zero_snr;
    double at_0, at_500, at_998;
  } rows[] = {
      {BetaSchedule::sigmoid, false, 0.99985081, 0.298887581, 4.04896236e-05},
      {BetaSchedule::laplace, false, 0.978846252, 0.707283437, 0.207026601},
      {BetaSchedule::exponential, false, 0.98807174, 0.00244921818, 6.21855543e-06},
      {BetaSchedule::linear, true, 0.999899983, 0.0752462, 4.21327329e-09},
      {BetaSchedule::cosine, true, 0.999958873, 0.492265046, 2.27781379e-06},
  };
  for (const auto& r : rows) {
    SchedulerConfig config = {.beta_schedule = r.row, .rescale_betas_zero_snr = r.zero_snr};
    const Schedule s = make_schedule(config);
    EXPECT_NEAR(s.alpha_bar[0] / r.at_0, 1, 1e-6) << r.row.name;
    EXPECT_NEAR(s.alpha_bar[500] / r.at_500, 1, 1e-5) << r.row.name;
    EXPECT_NEAR(s.alpha_bar[998] / r.at_998, 1, 2e-4) << r.row.name;
  }
}

}  // namespace
}  // namespace sfumato::diffusion
