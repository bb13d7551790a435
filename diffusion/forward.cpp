#include "diffusion/forward.h"

#include <cmath>
#include <utility>
#include <vector>

#include "diffusion/expect.h"

namespace sfumato::diffusion {

Levels levels(const NoiseLevel& level) { return {level.signal(), level.noise()}; }

namespace {

// level(i) at each time i.
template <class F>
Levels levels(const Schedule& schedule, const Tensor& t, F level) {
  return {per_image(t, schedule.steps(), [&](std::int64_t i) { return level(i).signal(); }),
          per_image(t, schedule.steps(), [&](std::int64_t i) { return level(i).noise(); })};
}

}  // namespace

Levels levels(const Schedule& schedule, const Tensor& t) {
  return levels(schedule, t, [&](std::int64_t i) { return schedule.level(i); });
}

Tensor q_step(const Schedule& schedule, const Tensor& x_prev, const Tensor& t, const Tensor& eps) {
  expect_batch("q_step", schedule, t, {"x_prev", x_prev}, {"eps", eps});
  const auto [signal, noise] = levels(schedule, t, [&](std::int64_t i) {
    return variance_preserving(schedule.alpha[static_cast<std::size_t>(i)]);
  });
  return signal * x_prev + noise * eps;
}

Tensor q_sample(const Schedule& schedule, const Tensor& x0, const Tensor& t, const Tensor& eps) {
  expect_batch("q_sample", schedule, t, {"x0", x0}, {"eps", eps});
  return q_sample(levels(schedule, t), x0, eps);
}

Tensor q_sample(const Levels& levels, const Tensor& x0, const Tensor& eps) {
  const auto& [signal, noise] = levels;
  return signal * x0 + noise * eps;
}

PosteriorWeights posterior_weights(const NoiseLevel& s, const NoiseLevel& t) {
  // Of x_s and x_t when the data have variance 1. α² (a_s² + σ_s²) + β = a_t² + σ_t² gives β without rounding for DDPM,
  // where both variances are 1.
  const double variance_s = s.signal_variance + s.noise_variance;
  const double variance_t = t.signal_variance + t.noise_variance;
  const double alpha_squared = t.signal_variance / s.signal_variance;
  const double beta = variance_t - alpha_squared * variance_s;
  return {.x0 = s.signal() * beta / t.noise_variance,
          .xt = std::sqrt(alpha_squared) * s.noise_variance / t.noise_variance,
          .variance = s.noise_variance / t.noise_variance * beta,
          .beta = beta};
}

Posterior posterior(const Schedule& schedule, const Tensor& x0, const Tensor& xt, const Tensor& t) {
  expect_batch("posterior", schedule, t, {"x0", x0}, {"xt", xt});
  const auto weights = [&](std::int64_t i) {
    return posterior_weights(schedule.level(i - 1), schedule.level(i));
  };
  const auto coefficient = [&](double PosteriorWeights::*member) {
    return per_image(t, schedule.steps(), [&](std::int64_t i) { return weights(i).*member; });
  };
  const Tensor one = Tensor::full(t.shape(), 1, {DType::f64, t.device()});
  return {coefficient(&PosteriorWeights::x0) * x0 + coefficient(&PosteriorWeights::xt) * xt,
          coefficient(&PosteriorWeights::variance) * one};
}

}  // namespace sfumato::diffusion
