// docs/extend.md: a sampler.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sfumato.h"

namespace {

using namespace sfumato;
using namespace sfumato::diffusion;

// DPM-Solver++(2M) (Lu 2022, algorithm 2), with λ = log(a / σ) and h the step in λ:
//     D = x̂_0 + h / (2 h') (x̂_0 − x̂_0'),      ' of the step before
//     x_s = σ_s / σ_t x_t − a_s (e^{−h} − 1) D.
// The first step, and the last one to the data (where h is infinite), take D = x̂_0.
Tensor sample_dpmpp_2m(const Chain& chain, Tensor x) {
  Tensor x0_before;
  double h_before = 0;
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Tensor x0 = chain.estimate(i, x).x0;
    const double h = (s.log_snr() - t.log_snr()) / 2;
    const bool second_order = x0_before.defined() && std::isfinite(h);
    const double r = second_order ? h / (2 * h_before) : 0;
    const Tensor D = second_order ? (1 + r) * x0 - r * x0_before : x0;
    x = s.noise() / t.noise() * x - s.signal() * std::expm1(-h) * D;
    chain.done(i, x, x0);
    x0_before = x0;
    h_before = h;
  }
  return x;
}

const Sampler dpmpp_2m = {.name = "dpmpp_2m",
                          .diffusers = "DPMSolverMultistepScheduler",
                          .pipeline = "DDPMPipeline",
                          .help = "second order, one network call a step",
                          .default_steps = 20,
                          .sample = sample_dpmpp_2m};

// The largest error of 40 steps for one Gaussian, whose exact way back is known: the probability flow keeps quantiles.
double error_of(const Sampler& sampler) {
  const double mean = 0.5, deviation = 0.3;
  SampleOptions options{.steps = 40};
  options.config = default_scheduler(Prediction::v, BetaSchedule::linear);
  options.config.sampler = sampler;
  const Schedule schedule = make_schedule(options.config);
  const Denoiser denoiser = exact_denoiser(
      schedule, {{.mean = {mean}, .covariance = {deviation * deviation}}}, Prediction::v);
  const Tensor x_T = Rng(1, Purpose::sample_start).normal({16, 1}, DType::f64);
  const Tensor x_0 = sample(schedule, options, denoiser, x_T);
  const NoiseLevel T = schedule.level(999);
  const double width = std::sqrt(T.signal_variance * deviation * deviation + T.noise_variance);
  double error = 0;
  for (std::int64_t i = 0; i < 16; ++i) {
    const double quantile = (x_T.data<double>()[i] - T.signal() * mean) / width;
    error = std::max(error, std::abs(x_0.data<double>()[i] - (mean + deviation * quantile)));
  }
  return error;
}

TEST(Extend, ASampler) { EXPECT_LT(error_of(dpmpp_2m), error_of(Sampler::ddim) / 3); }

}  // namespace
