#include "diffusion/forward.h"

#include <cmath>

#include "diffusion/mix.h"

namespace sfumato::diffusion {

NoiseLevel noise_level(double alpha_bar) {
  return {std::sqrt(alpha_bar), std::sqrt(1 - alpha_bar)};
}

Tensor q_step(const Schedule& schedule, const Tensor& x_prev, const Tensor& t, const Tensor& eps) {
  const auto weights = [](const Schedule& s, std::int64_t i) {
    const NoiseLevel level = noise_level(s.alpha[static_cast<std::size_t>(i)]);
    return Weights{level.signal, level.noise};
  };
  return mix("q_step", schedule, t, weights, {"x_prev", x_prev}, {"eps", eps});
}

Tensor q_sample(const Schedule& schedule, const Tensor& x0, const Tensor& t, const Tensor& eps) {
  const auto weights = [](const Schedule& s, std::int64_t i) {
    const NoiseLevel level = noise_level(s.alpha_bar[static_cast<std::size_t>(i)]);
    return Weights{level.signal, level.noise};
  };
  return mix("q_sample", schedule, t, weights, {"x0", x0}, {"eps", eps});
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
  static constexpr auto at = [](const Schedule& s, std::int64_t i) {
    return posterior_weights(s.alpha_bar_at(i - 1), s.alpha_bar_at(i));
  };
  const auto weights = [](const Schedule& s, std::int64_t i) {
    return Weights{at(s, i).x0, at(s, i).xt};
  };
  Posterior q{mix("posterior", schedule, t, weights, {"x0", x0}, {"xt", xt}),
              Tensor(t.shape(), DType::f64)};
  for (std::int64_t n = 0; n < t.size(); ++n)
    q.variance.data<double>()[n] = at(schedule, t.data<std::int64_t>()[n]).variance;
  return q;
}

}  // namespace sfumato::diffusion
