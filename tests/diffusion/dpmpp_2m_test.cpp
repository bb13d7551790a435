// DPM-Solver++(2M) against the exact flow of Gaussian data, and against diffusers.
#include "diffusion/gaussian.h"
#include "diffusion/sampler.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;

// Data N(0.5, 0.04), from log-SNR -8 to 8 in even steps. The flow takes x_t to a_s μ + √(C_s / C_t) (x_t − a_t μ), where
// C = a² Σ + σ² is the variance of x. Twice the steps, a quarter of the error.
TEST(DpmSolverPlusPlus, Algorithm2IsOfSecondOrder) {
  const double mean = 0.5, variance = 0.04;
  const std::vector<Gaussian> data = {{.mean = {mean}, .covariance = {variance}}};
  const auto spread = [&](const NoiseLevel& l) {
    return std::sqrt(l.signal_variance * variance + l.noise_variance);
  };
  const auto error = [&](const Sampler& sampler, std::int64_t steps) {
    Chain chain;
    chain.config.clip_sample = false;
    chain.denoiser = exact_denoiser(variance_preserving_at_log_snr, data, Prediction::eps);
    chain.time_at = [](const NoiseLevel& l) { return l.log_snr(); };
    for (std::int64_t i = 0; i <= steps; ++i) {
      const double t = -8 + 16 * static_cast<double>(i) / static_cast<double>(steps);
      if (i < steps) chain.times.push_back(t);
      chain.levels.push_back(variance_preserving_at_log_snr(t));
    }
    const NoiseLevel first = chain.levels.front(), last = chain.levels.back();
    const double x = 1.3;
    const double want =
        last.signal() * mean + spread(last) / spread(first) * (x - first.signal() * mean);
    return std::abs(sampler.sample(chain, f64({1, 1}, {x})).item() - want);
  };
  for (const std::int64_t steps : {100, 200, 400})
    EXPECT_NEAR(error(Sampler::dpmpp_2m, steps) / error(Sampler::dpmpp_2m, 2 * steps), 4, 0.6);
  EXPECT_LT(error(Sampler::dpmpp_2m, 100), 0.1 * error(Sampler::ddim, 100));
}

// What DPMSolverMultistepScheduler of diffusers 0.42.1 gives: linear schedule, ε-prediction, trailing, 5 steps, in float64
// but for its tables.
TEST(DpmSolverPlusPlus, TrajectoryIsThatOfDiffusers) {
  SampleOptions options;
  options.steps = 5;
  options.config.sampler = Sampler::dpmpp_2m;
  options.config.timestep_spacing = Spacing::trailing;
  options.config.clip_sample = false;
  const double want[5][3] = {{-1.1971690250831388, -4.244802121113137, 3.228924372765934},
                             {-5.0276813346385145, -11.4676419506063, 8.843318713300583},
                             {-11.038957464337704, -22.350696342051194, 17.0066590764519},
                             {-15.951793744711937, -30.630447673710563, 22.974541526368213},
                             {-16.71097800755021, -30.86967134877533, 22.940001186853785}};
  std::int64_t i = 0;
  const Denoiser network = [&](const Tensor& xt, double) {
    const double grow = 1 + 0.1 * static_cast<double>(i);
    const Tensor base = f64({1, 3}, {0.5, -0.25, 0.1 * static_cast<double>(i)});
    return grow * base + 0.3 * xt;
  };
  options.on_step = [&](const Progress& p) {
    for (int k = 0; k < 3; ++k) EXPECT_NEAR(p.x.data<double>()[k] / want[i][k], 1, 2e-5) << i;
    ++i;
  };
  sample(make_schedule(options.config), options, network, f64({1, 3}, {0.3, -1.2, 0.7}));
  EXPECT_EQ(i, 5);
}

}  // namespace
}  // namespace sfumato::diffusion
