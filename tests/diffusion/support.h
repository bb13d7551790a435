// Helpers of the diffusion tests.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"
#include "diffusion/sampler.h"
#include "nn/presets.h"
#include "tensor/tensor.h"
#include "tests/norms.h"

namespace sfumato::diffusion::testing {

using sfumato::max_difference;

// Standard normal quantiles at which a correct program fails once in a million.
inline constexpr double kTwoSided = 4.8917;
inline constexpr double kOneSided = 4.7535;

// The chi-square quantile at z, by Wilson and Hilferty (1931); within 1 % for k >= 10.
inline double chi_square_quantile(double k, double z) {
  const double c = 2 / (9 * k);
  return k * std::pow(1 - c + z * std::sqrt(c), 3);
}

inline double normal_cdf(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }

inline Tensor f64(const Shape& shape, const std::vector<double>& values) {
  return Tensor::from<double>(shape, std::span<const double>(values));
}

// One timestep for each of n images.
inline Tensor times(std::int64_t n, std::int64_t t) {
  return Tensor::full({n}, static_cast<double>(t), DType::i64);
}

// One step of a sampler.
struct Step {
  Tensor x_prev, x0;
};

// From timestep t to t_prev (below 0: to the data, or to ᾱ_0 without set_alpha_to_one), where the network answers
// `output` and the noise is `noise`.
inline Step one_step(const Schedule& s, const SchedulerConfig& config, double eta,
                     const Tensor& output, std::int64_t t, std::int64_t t_prev, const Tensor& xt,
                     const Tensor& noise = {}) {
  Step step;
  const NoiseLevel end = config.set_alpha_to_one ? kNoNoise : s.level(0);
  Chain chain{.config = config,
              .eta = eta,
              .times = {static_cast<double>(t)},
              .levels = {s.level(t), t_prev < 0 ? end : s.level(t_prev)},
              .denoiser = [&](const Tensor&, double) { return output; },
              .noise = [&](std::int64_t, const Tensor&) { return noise; },
              .on_step =
                  [&](const Progress& p) {
                    step = {p.x, p.x0};
                  }};
  config.sampler.sample(chain, xt);
  return step;
}

struct Moments {
  double mean = 0, variance = 0;
};

inline Moments moments(const Tensor& x) {
  const Tensor values = x.to(DType::f64);
  Moments m;
  const auto n = static_cast<double>(x.size());
  for (const double v : values.values<double>()) m.mean += v / n;
  for (const double v : values.values<double>())
    m.variance += (v - m.mean) * (v - m.mean) / (n - 1);
  return m;
}

// Fails unless n samples with the moments `got` can be from N(want.mean, want.variance).
inline void expect_normal_moments(const Moments& got, const Moments& want, std::int64_t samples) {
  const auto n = static_cast<double>(samples);
  EXPECT_NEAR(got.mean, want.mean, kTwoSided * std::sqrt(want.variance / n));
  const double statistic = (n - 1) * got.variance / want.variance;  // chi-square with n − 1
  EXPECT_LT(statistic, chi_square_quantile(n - 1, kTwoSided));
  EXPECT_GT(statistic, chi_square_quantile(n - 1, -kTwoSided));
}

// `tiny` without classes, untrained, for pictures of 8x8: its pictures are noise, some lighter than others.
inline Pipeline unconditional_model() {
  Pipeline model =
      make_pipeline(nn::build_preset("tiny", {.channels = 1, .size = 8}), default_scheduler(), 1);
  model.network->sample_size = {8, 8};
  return model;
}

}  // namespace sfumato::diffusion::testing
