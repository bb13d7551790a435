#include "diffusion/schedule.h"

#include <cmath>
#include <numbers>

#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

const std::vector<Schedule>& all_schedules() {
  static const std::vector<Schedule> schedules = {
      Schedule::linear(),
      Schedule::linear(20, 0.001, 0.3),
      Schedule::scaled_linear(),
      Schedule::cosine(),
      Schedule::cosine(7),
      Schedule::cosine(1),
      Schedule::linear(1),
      Schedule::linear(2, 0.5, 0.25),
      Schedule::from_betas(std::vector{0.1}),
  };
  return schedules;
}

TEST(Schedule, AlphaIsOneMinusBetaAndAlphaBarItsProduct) {
  for (const Schedule& s : all_schedules()) {
    double product = 1;
    for (std::int64_t t = 0; t < s.steps(); ++t) {
      const auto i = static_cast<std::size_t>(t);
      EXPECT_EQ(s.alpha[i] + s.beta[i], 1);
      product *= s.alpha[i];
      EXPECT_EQ(s.alpha_bar[i], product);
      EXPECT_LT(s.alpha_bar_at(t), s.alpha_bar_at(t - 1));
    }
    EXPECT_EQ(s.alpha_bar_at(-1), 1);
  }
}

TEST(Schedule, LinearHasEvenlySpacedBetas) {
  const Schedule s = Schedule::linear(1000, 1e-4, 0.02);
  ASSERT_EQ(s.steps(), 1000);
  for (std::size_t t = 0; t < 1000; ++t)
    EXPECT_NEAR(s.beta[t], 1e-4 + (0.02 - 1e-4) * static_cast<double>(t) / 999, 0x1p-24);
}

TEST(Schedule, ScaledLinearHasEvenlySpacedRoots) {
  const Schedule s = Schedule::scaled_linear(1000, 0.00085, 0.012);
  const double a = std::sqrt(0.00085), b = std::sqrt(0.012);
  for (std::size_t t = 0; t < 1000; ++t)
    EXPECT_NEAR(s.beta[t], std::pow(a + (b - a) * static_cast<double>(t) / 999, 2), 0x1p-24);
}

TEST(ImprovedDdpm, Equation17GivesTheCosineSchedule) {
  const Schedule s = Schedule::cosine(1000);
  const auto f = [](double u) {
    return std::pow(std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2), 2);
  };
  for (std::size_t t = 0; t < 999; ++t)
    EXPECT_NEAR(s.alpha_bar[t], f(static_cast<double>(t + 1) / 1000) / f(0), 1e-6) << t;
  EXPECT_NEAR(s.beta[999], 0.999, 1e-7);  // the cut: eq. 17 would reach 0
}

TEST(VariationalDiffusion, Equation2SnrFallsWithTime) {
  for (const Schedule& s : all_schedules())
    for (std::int64_t t = 0; t < s.steps(); ++t) {
      const double alpha_bar = s.alpha_bar_at(t);
      EXPECT_NEAR(s.level(t).snr() * (1 - alpha_bar), alpha_bar, 1e-15);
      if (t > 0) {
        EXPECT_LT(s.level(t).snr(), s.level(t - 1).snr());
      }
    }
}

TEST(Schedule, TrainedBetasThatWereAScheduleGiveItBack) {
  for (const Schedule& s : all_schedules())
    EXPECT_EQ(Schedule::from_betas(s.beta).alpha_bar, s.alpha_bar);
}

TEST(Schedule, NamesGoBothWays) {
  for (const char* name : {"linear", "scaled_linear", "squaredcos_cap_v2"})
    EXPECT_EQ(parse_beta_schedule(name).diffusers, name);
  EXPECT_EQ(parse_beta_schedule("cosine"), BetaSchedule::cosine);
}

TEST(Schedule, ThatDoesNotEndInNoiseIsNamed) {
  EXPECT_EQ(terminal_noise_problem(Schedule::linear()), "");
  EXPECT_EQ(terminal_noise_problem(Schedule::scaled_linear()), "");  // Stable Diffusion's
  EXPECT_EQ(terminal_noise_problem(Schedule::cosine(20)), "");
  const std::string problem = terminal_noise_problem(Schedule::linear(100));
  EXPECT_NE(problem.find("alpha_bar = 0.364"), std::string::npos) << problem;
  EXPECT_NE(problem.find("60 %"), std::string::npos) << problem;
}

}  // namespace
}  // namespace sfumato::diffusion
