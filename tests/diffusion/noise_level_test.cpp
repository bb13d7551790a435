// One idea for all processes, x_t = a x_0 + σ ε: conversions, and DDIM without noise on each of them.
#include "diffusion/noise_level.h"

#include "diffusion/gaussian.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;

TEST(NoiseLevel, OfEachProcess) {
  const NoiseLevel ddpm = variance_preserving(0.36);
  EXPECT_DOUBLE_EQ(ddpm.signal(), 0.6);
  EXPECT_DOUBLE_EQ(ddpm.noise(), 0.8);
  EXPECT_EQ(ddpm.alpha_bar(), 0.36);
  const NoiseLevel edm = variance_exploding(3);
  EXPECT_EQ(edm.signal(), 1);
  EXPECT_DOUBLE_EQ(edm.noise(), 3);
  EXPECT_DOUBLE_EQ(edm.alpha_bar(), 0.1);  // 1 / (1 + σ²)
  const NoiseLevel flow = flow_matching(0.25);
  EXPECT_DOUBLE_EQ(flow.signal(), 0.75);
  EXPECT_DOUBLE_EQ(flow.noise(), 0.25);
  EXPECT_DOUBLE_EQ(flow.log_snr(), std::log(9));
  EXPECT_EQ(kNoNoise.alpha_bar(), 1);
  EXPECT_EQ(kNoNoise.noise(), 0);
}

TEST(NoiseLevel, LogSnrGivesTheLevelBack) {
  for (const NoiseLevel& level : {variance_preserving(1e-4), variance_preserving(0.5),
                                  variance_exploding(80), flow_matching(0.001)}) {
    const NoiseLevel back = variance_preserving_at_log_snr(level.log_snr());
    EXPECT_NEAR(back.alpha_bar() / level.alpha_bar(), 1, 1e-12);
    EXPECT_NEAR(back.log_snr(), level.log_snr(), 1e-12);
    EXPECT_NEAR(back.signal_variance + back.noise_variance, 1, 1e-15);
  }
}

// The tables of a schedule are a row of such levels, bit for bit.
TEST(NoiseLevel, OfAScheduleIsItsTable) {
  const Schedule s = Schedule::cosine(100);
  for (std::int64_t t = -1; t < 100; ++t) {
    EXPECT_EQ(s.level(t).signal_variance, s.alpha_bar_at(t));
    EXPECT_EQ(s.level(t).alpha_bar(), s.alpha_bar_at(t));
  }
}

struct Process {
  const char* name;
  std::function<NoiseLevel(double)> level;
  double start;  // the time at which there is hardly anything but noise
};

const Process kProcesses[] = {
    {"variance preserving", [](double t) { return variance_preserving_at_log_snr(10 - 20 * t); },
     1},
    {"variance exploding", variance_exploding, 80},
    {"flow matching", flow_matching, 0.999}};

// Data N(0.5, 0.04): without noise, each step of DDIM is Euler's for the flow that turns N(a_t μ, C_t) into N(μ, Σ), so
// x_t goes to μ + √(Σ / C_t) (x_t − a_t μ).
TEST(Ddim, FollowsTheProbabilityFlowOfEveryProcess) {
  const double mean = 0.5, variance = 0.04;
  const std::vector<Gaussian> data = {{.mean = {mean}, .covariance = {variance}}};
  for (const Process& p : kProcesses) {
    const auto error = [&](std::int64_t steps) {
      Chain chain;
      chain.denoiser = exact_denoiser(p.level, data, Prediction::eps);
      chain.config.clip_sample = false;
      for (std::int64_t i = 0; i <= steps; ++i) {  // finer towards the data, as EDM has it
        const double t =
            p.start * std::pow(1 - static_cast<double>(i) / static_cast<double>(steps), 3);
        if (i < steps) chain.times.push_back(t);
        chain.levels.push_back(i < steps ? p.level(t) : kNoNoise);
      }
      const NoiseLevel first = chain.levels.front();
      const double x = first.signal() * mean + 1.3 * first.noise();
      const double spread =
          std::sqrt(variance / (first.signal_variance * variance + first.noise_variance));
      const double want = mean + spread * (x - first.signal() * mean);
      return std::abs(Sampler::ddim.sample(chain, f64({1, 1}, {x})).item() - want);
    };
    EXPECT_LT(error(1000), 2e-3) << p.name;
    EXPECT_NEAR(error(500) / error(1000), 2, 0.3) << p.name;  // of first order
  }
}

// Flow matching's own prediction, u = ε − x_0 (Liu 2022, eq. 1, with time running to the noise), as a user would add it:
// x_t = a x_0 + σ ε gives x_0 = (x_t − σ u) / (a + σ) and ε = (x_t + a u) / (a + σ), in every process.
TEST(Prediction, OfOnesOwnWorksInEveryProcess) {
  const Prediction flow = {
      .name = "flow",
      .diffusers = "flow_prediction",
      .help = "ε - x_0",
      .clip_sample = false,
      .target = [](auto&, auto&, auto& x0, auto& eps) { return 1 * eps - 1 * x0; },
      .to_x0 = [](auto& a, auto& s, auto& xt,
                  auto& u) { return 1 / (a + s) * xt - s / (a + s) * u; },
      .to_eps = [](auto& a, auto& s, auto& xt,
                   auto& u) { return 1 / (a + s) * xt + a / (a + s) * u; }};
  Rng rng(8, Purpose::test);
  const Tensor x0 = rng.normal({3, 4}, DType::f64), eps = rng.normal({3, 4}, DType::f64);
  for (const Process& p : kProcesses)
    for (const double share : {0.1, 0.9}) {
      const Levels l = levels(p.level(share * p.start));
      const Tensor xt = q_sample(l, x0, eps);
      const Tensor u = flow.target(l.signal, l.noise, x0, eps);
      EXPECT_LT(max_difference(flow.to_x0(l.signal, l.noise, xt, u), x0), 1e-11) << p.name;
      EXPECT_LT(max_difference(flow.to_eps(l.signal, l.noise, xt, u), eps), 1e-11) << p.name;
    }
}

}  // namespace
}  // namespace sfumato::diffusion
