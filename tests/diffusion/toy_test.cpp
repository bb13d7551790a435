// diffusion/toy: data in the plane, and the network that learns them.
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/toy/mlp.h"
#include "diffusion/toy/plane.h"
#include "nn/optim.h"

namespace sfumato {
namespace {

using namespace diffusion;

TEST(Toy, PointsHaveTheMixturesMoments) {
  const std::int64_t n = 40000;
  const Tensor x = toy::draw(toy::mixture("two"), n, Rng(1));
  double mean[2] = {}, square[2] = {};
  for (std::int64_t i = 0; i < x.size(); ++i) {
    mean[i % 2] += x.data<float>()[i] / static_cast<double>(n);
    square[i % 2] += std::pow(x.data<float>()[i], 2) / static_cast<double>(n);
  }
  // 3/4 N((-0.8, -0.3), 0.25²) + 1/4 N((0.8, 0.5), 0.12²)
  EXPECT_NEAR(mean[0], -0.4, 0.02);
  EXPECT_NEAR(mean[1], -0.1, 0.02);
  EXPECT_NEAR(square[0], 0.64 + 0.75 * 0.0625 + 0.25 * 0.0144, 0.02);
  EXPECT_NEAR(square[1], 0.75 * (0.09 + 0.0625) + 0.25 * (0.25 + 0.0144), 0.02);
}

TEST(Toy, WrongDataAreRefused) {
  EXPECT_THROW(toy::mixture("triangle"), Error);
  EXPECT_THROW(toy::draw({}, 5, Rng(1)), Error);
  const Gaussian full{.weight = 1, .mean = {0, 0}, .covariance = {1, 0, 0, 1}};
  EXPECT_THROW(toy::draw({full}, 5, Rng(1)), Error);
}

TEST(Toy, TheNetworkComesNearTheBestLoss) {
  const std::vector<Gaussian> mixture = toy::mixture("two");
  const Schedule schedule = Schedule::linear(100, 1e-3, 0.2);
  nn::Params params(1);
  const toy::Mlp network(params, 2, 32);
  nn::AdamW adam(params, {});
  const auto noised = [&](std::uint64_t k, std::int64_t n, const Tensor& t, const Tensor& eps) {
    return q_sample(schedule, toy::draw(mixture, n, Rng(2, Purpose::shuffle, k)), t, eps);
  };
  for (std::uint64_t k = 0; k < 400; ++k) {
    const Tensor t = Rng(2, Purpose::timestep, k).randint({128}, schedule.steps());
    const Tensor eps = Rng(2, Purpose::noise, k).normal({128, 2});
    params.zero_grad();
    mse(network(noised(k, 128, t, eps), t), eps).backward();
    adam.step(3e-3 * nn::warmup_cosine(static_cast<std::int64_t>(k), 10,
                                       static_cast<double>(k) / 400, 0.02));
  }
  NoGrad no_grad;
  const Tensor t = Tensor::full({4000}, 40, DType::i64), eps = Rng(3).normal({4000, 2});
  const Tensor xt = noised(1000, 4000, t, eps);
  const double best = mse(expected_eps(mixture, schedule.level(40), xt), eps).value().item();
  const double reached = mse(network(xt, t), eps).value().item();
  EXPECT_GT(reached, best);
  EXPECT_LT(reached, 1.15 * best);
}

}  // namespace
}  // namespace sfumato
