// docs/extend.md: a prediction.
#include <gtest/gtest.h>

#include "sfumato.h"

namespace {

using namespace sfumato;
using namespace sfumato::diffusion;

// u = ε − x_0, the velocity of the straight line from x_0 to ε.            [rectified flow, Liu 2022]
// From x_t = a x_0 + σ ε:  x_0 = (x_t − σ u) / (a + σ),  ε = (x_t + a u) / (a + σ).
const diffusion::Prediction flow = {
    .name = "flow",
    .diffusers = "flow_prediction",
    .help = "ε - x_0",
    .clip_sample = false,
    .target = [](auto&, auto&, auto& x0, auto& eps) { return 1.0 * eps - 1.0 * x0; },
    .to_x0 = [](auto& signal, auto& noise, auto& xt,
                auto& u) { return 1 / (signal + noise) * xt - noise / (signal + noise) * u; },
    .to_eps = [](auto& signal, auto& noise, auto& xt,
                 auto& u) { return 1 / (signal + noise) * xt + signal / (signal + noise) * u; },
};

TEST(Extend, APrediction) {
  const auto schedule = diffusion::Schedule::cosine(1000);
  const Tensor x0 = Rng(1).normal({3, 4}, DType::f64), eps = Rng(2).normal({3, 4}, DType::f64);
  const Tensor t = Tensor::from<std::int64_t>({3}, {0, 500, 999});
  const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);
  const Tensor u = diffusion::target(flow, schedule, x0, eps, t);
  const Tensor x0_again = diffusion::to_x0(flow, schedule, u, xt, t);
  const Tensor eps_again = diffusion::to_eps(flow, schedule, u, xt, t);
  for (std::int64_t i = 0; i < x0.size(); ++i) {
    EXPECT_NEAR(x0_again.data<double>()[i], x0.data<double>()[i], 1e-12);
    EXPECT_NEAR(eps_again.data<double>()[i], eps.data<double>()[i], 1e-12);
  }
}

}  // namespace
