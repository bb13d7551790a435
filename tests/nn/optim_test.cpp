#include "nn/optim.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops.h"
#include "nn/layers.h"

namespace sfumato::nn {
namespace {

// The update of Loshchilov and Hutter, written out for one number in double.
TEST(AdamW, FollowsItsFormula) {
  Params params(0, DType::f64);
  const Param w = Scope(params).param("w", {1}, ones());
  AdamW adam(params, {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1});
  double x = 1, m = 0, v = 0;
  for (int k = 1; k <= 5; ++k) {
    params.zero_grad();
    sum(square(w)).backward();
    adam.step(0.01, {gradient_norm(params), 0.5});
    const double g = 2 * x * clip_scale(2 * std::abs(x), 0.5);
    m = 0.9 * m + 0.1 * g;
    v = 0.99 * v + 0.01 * g * g;
    x = x - 0.01 * (m / (1 - std::pow(0.9, k)) / (std::sqrt(v / (1 - std::pow(0.99, k))) + 1e-8) +
                    0.1 * x);
    EXPECT_NEAR(w.var().value().item(), x, 1e-12) << k;
  }
}

TEST(AdamW, AGradientThatIsNotFiniteChangesNothing) {
  Params params(0);
  const Param w = Scope(params).param("w", {3}, ones());
  AdamW adam(params, {.weight_decay = 0.1});
  Ema ema(params, 0.9);
  params.zero_grad();
  sum(w.var() * INFINITY).backward();
  adam.step(0.01, {gradient_norm(params), 1}, &ema);
  for (const Tensor& t : {w.var().value(), ema.average})
    for (const float value : t.values<float>()) EXPECT_EQ(value, 1);
  for (const Tensor& t : {adam.m, adam.v})
    for (const float value : t.values<float>()) EXPECT_EQ(value, 0);
}

TEST(Clip, ScalesToTheNorm) {
  Params params(0);
  const Param w = Scope(params).param("w", {4}, ones());
  params.zero_grad();
  sum(w.var() * 3.0).backward();
  EXPECT_DOUBLE_EQ(gradient_norm(params).item(), 6);
  EXPECT_NEAR(clip_scale(6, 1) * 6, 1, 1e-6);
  EXPECT_EQ(clip_scale(0.5, 1), 1);
}

TEST(Ema, WarmsUp) {
  Params params(0, DType::f64);
  const Param w = Scope(params).param("w", {1}, zeros());
  Ema ema(params, 0.999);
  Tensor flat = params.flat_values();
  double average = 0;
  for (int k = 0; k < 20; ++k) {
    flat.data<double>()[0] = k;
    ema.update();
    const double decay = std::min(0.999, (1.0 + k) / (10.0 + k));
    average = decay * average + (1 - decay) * k;
    EXPECT_NEAR(ema.average.item(), average, 1e-12);
  }
  {
    SwapValues swapped(params, ema.average);
    EXPECT_NEAR(w.var().value().item(), average, 1e-12);
  }
  EXPECT_EQ(w.var().value().item(), 19);
}

TEST(LearningRate, WarmsUpAndDecays) {
  EXPECT_NEAR(warmup_cosine(0, 10, 0, 0.1), 0.1, 1e-12);
  EXPECT_NEAR(warmup_cosine(9, 10, 0, 0.1), 1, 1e-12);
  EXPECT_NEAR(warmup_cosine(100, 10, 0.5, 0.1), 0.55, 1e-12);
  EXPECT_NEAR(warmup_cosine(100, 10, 1, 0.1), 0.1, 1e-12);
  EXPECT_NEAR(warmup_cosine(100, 0, 2, 0.1), 0.1, 1e-12);
}

}  // namespace
}  // namespace sfumato::nn
