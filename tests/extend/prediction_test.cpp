// docs/extend.md: a prediction.
#include <gtest/gtest.h>

#include "sfumato.h"

namespace {

using namespace sfumato;
using namespace sfumato::diffusion;

// The noise as it is in x_t: n = σ ε.   From x_t = a x_0 + n:  x_0 = (x_t − n) / a,  ε = n / σ.
const diffusion::Prediction added_noise = {
    .name = "added_noise",
    .diffusers = "added_noise",
    .help = "σ ε",
    .clip_sample = true,
    .needs_signal = true,
    .target = [](auto&, auto& noise, auto&, auto& eps) -> Tensor { return noise * eps; },
    .to_x0 = [](auto& signal, auto&, auto& xt,
                auto& n) { return 1 / signal * xt - 1 / signal * n; },
    .to_eps = [](auto&, auto& noise, auto&, auto& n) -> Tensor { return 1 / noise * n; },
    .eps_per_output = [](double, double noise) { return 1 / noise; },
};

TEST(Extend, APrediction) {
  const auto schedule = diffusion::Schedule::cosine(1000);
  const Tensor x0 = Rng(1).normal({3, 4}, DType::f64), eps = Rng(2).normal({3, 4}, DType::f64);
  const Tensor t = Tensor::from<std::int64_t>({3}, {0, 500, 999});
  const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);
  const Tensor n = diffusion::target(added_noise, schedule, x0, eps, t);
  const Tensor x0_again = diffusion::to_x0(added_noise, schedule, n, xt, t);
  const Tensor eps_again = diffusion::to_eps(added_noise, schedule, n, xt, t);
  for (std::int64_t i = 0; i < x0.size(); ++i) {
    EXPECT_NEAR(x0_again.data<double>()[i], x0.data<double>()[i], 1e-12);
    EXPECT_NEAR(eps_again.data<double>()[i], eps.data<double>()[i], 1e-12);
  }
}

}  // namespace
