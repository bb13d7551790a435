#include "diffusion/forward.h"

#include <cmath>

#include "diffusion/expect.h"

namespace sfumato::diffusion {

NoiseLevel noise_level(double alpha_bar) {
  return {std::sqrt(alpha_bar), std::sqrt(1 - alpha_bar)};
}

Levels levels(const std::vector<double>& alphas, const Tensor& t) {
  const auto at = [&](std::int64_t i) { return noise_level(alphas[static_cast<std::size_t>(i)]); };
  return {per_image(t, [&](std::int64_t i) { return at(i).signal; }),
          per_image(t, [&](std::int64_t i) { return at(i).noise; })};
}

Tensor q_step(const Schedule& schedule, const Tensor& x_prev, const Tensor& t, const Tensor& eps) {
  expect_batch("q_step", schedule, t, {"x_prev", x_prev}, {"eps", eps});
  const auto [signal, noise] = levels(schedule.alpha, t);
  return signal * x_prev + noise * eps;
}

Tensor q_sample(const Schedule& schedule, const Tensor& x0, const Tensor& t, const Tensor& eps) {
  expect_batch("q_sample", schedule, t, {"x0", x0}, {"eps", eps});
  const auto [signal, noise] = levels(schedule.alpha_bar, t);
  return signal * x0 + noise * eps;
}

PosteriorWeights posterior_weights(double alpha_bar_s, double alpha_bar_t) {
  const double alpha = alpha_bar_t / alpha_bar_s;
  const double beta = 1 - alpha;
  return {.x0 = std::sqrt(alpha_bar_s) * beta / (1 - alpha_bar_t),
          .xt = std::sqrt(alpha) * (1 - alpha_bar_s) / (1 - alpha_bar_t),
          .variance = (1 - alpha_bar_s) / (1 - alpha_bar_t) * beta,
          .beta = beta};
}

Posterior posterior(const Schedule& schedule, const Tensor& x0, const Tensor& xt, const Tensor& t) {
  expect_batch("posterior", schedule, t, {"x0", x0}, {"xt", xt});
  const auto weights = [&](std::int64_t i) {
    return posterior_weights(schedule.alpha_bar_at(i - 1), schedule.alpha_bar_at(i));
  };
  const Coefficient a = per_image(t, [&](std::int64_t i) { return weights(i).x0; });
  const Coefficient b = per_image(t, [&](std::int64_t i) { return weights(i).xt; });
  Posterior q{a * x0 + b * xt, Tensor(t.shape(), DType::f64)};
  for (std::int64_t n = 0; n < t.size(); ++n)
    q.variance.data<double>()[n] = weights(t.data<std::int64_t>()[n]).variance;
  return q;
}

}  // namespace sfumato::diffusion
