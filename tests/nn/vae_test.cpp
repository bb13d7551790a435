// The discretised logistic and the VAE.
#include "nn/vae.h"

#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>
#include <utility>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "nn/fit.h"
#include "nn/likelihood.h"

namespace sfumato::nn {
namespace {

Tensor f64(const Shape& shape, std::initializer_list<double> values) {
  return Tensor::from<double>(shape, values);
}
double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// The probabilities of all 256 values sum to 1, and each is the difference of the distribution function that defines it.
TEST(DiscretizedLogistic, IsADistributionOver256Values) {
  for (const auto& [mean, log_scale] :
       {std::pair{0.1, -1.0}, {-0.97, -4.0}, {1.5, -2.0}, {0.3, -7.0}}) {
    Tensor x({256}, DType::f64);
    for (int v = 0; v < 256; ++v) x.data<double>()[v] = 2 * v / 255.0 - 1;
    const Tensor nats = discretized_logistic(x, Tensor::full({256}, mean, DType::f64),
                                             Tensor::full({256}, log_scale, DType::f64))
                            .value();
    double total = 0;
    for (int v = 0; v < 256; ++v) {
      const double s = std::exp(log_scale), middle = x.data<double>()[v];
      const double above = v == 255 ? 1 : logistic((middle + 1 / 255.0 - mean) / s);
      const double below = v == 0 ? 0 : logistic((middle - 1 / 255.0 - mean) / s);
      const double p = std::exp(-nats.data<double>()[v]);
      EXPECT_NEAR(p, above - below, 1e-12) << v;
      total += p;
    }
    EXPECT_NEAR(total, 1, 1e-12);
  }
}

TEST(DiscretizedLogistic, Gradient) {
  const Tensor x = f64({5}, {-1, -0.2, 10 / 255.0 - 1, 1, 0.4});
  gradcheck("discretized_logistic",
            [&](std::span<const Var> in) { return discretized_logistic(x, in[0], in[1]); },
            {f64({5}, {-0.8, -0.3, 0.5, 0.7, 0.4}), f64({5}, {-1, -2, -0.5, -3, -5})});
}

TEST(DiscretizedLogistic, FarFromThePixelItStaysFinite) {
  const Tensor x = Tensor::from<float>({3}, {-1, 0.5f, 1});
  Var mean(Tensor::from<float>({3}, {9, -9, -9}), true), scale(Tensor::full({3}, -7), true);
  const Var nats = discretized_logistic(x, mean, scale);
  sum(nats).backward();
  for (const Tensor& t : {nats.value(), mean.grad(), scale.grad()})
    for (const float v : t.values<float>()) EXPECT_TRUE(std::isfinite(v));
}

constexpr std::int64_t kClasses = 2;
VaeConfig tiny() {
  return {.channels = 1,
          .height = 8,
          .width = 8,
          .block_out_channels = {8, 8},
          .layers_per_block = 1,
          .norm_num_groups = 2,
          .code = 3,
          .classes = kClasses};
}

TEST(Vae, ShapesAndTheRateOfTheCode) {
  Params params(1);
  const Vae vae(params, tiny());
  const Tensor x = Rng(1).uniform({4, 8, 8, 1}),
               labels = Tensor::from<std::int64_t>({4}, {0, 1, 0, 1});
  const auto [mean, log_variance] = vae.encode(x, labels);
  EXPECT_EQ(mean.shape(), (Shape{4, 3}));
  const auto [pixel, log_scale] = vae.decode(mean, labels);
  EXPECT_EQ(pixel.shape(), x.shape());
  for (const float s : log_scale.value().values<float>()) EXPECT_TRUE(s > -7 && s < 0);
  double kl = 0;
  for (int i = 0; i < 12; ++i) {
    const double m = mean.value().data<float>()[i], v = log_variance.value().data<float>()[i];
    kl += 0.5 * (m * m + std::exp(v) - 1 - v) / 4;
  }
  EXPECT_NEAR(bound(vae, x, labels, Rng(3)).rate.value().item(), kl, 1e-5);
  EXPECT_NEAR(Bound::bits_per_dim(64 * std::log(2.0), x.shape()), 1, 1e-12);
  EXPECT_THROW(vae.encode(Rng(1).uniform({4, 12, 8, 1}), labels), Error);
  VaeConfig odd = tiny();
  odd.height = 9;
  Params unused(1);
  EXPECT_THROW(Vae(unused, odd), Error);
}

// Pictures of one value a class: the bound comes near what a label alone tells, 0 bits.
TEST(Vae, LearnsPicturesThatTheLabelTells) {
  Params params(1);
  const Vae vae(params, tiny());
  const Tensor labels = Tensor::from<std::int64_t>({8}, {0, 1, 0, 1, 0, 1, 0, 1});
  Tensor x = Tensor::full({8, 8, 8, 1}, -1);
  for (std::int64_t i = 1; i < 8; i += 2) x.slice(i, i + 1).fill(1);
  double first = 0, last = 0;
  fit(params,
      {.steps = 300,
       .warmup = 10,
       .lr = 1e-2,
       .on_step = [&](std::int64_t k, double loss) { (k == 0 ? first : last) = loss; }},
      [&](std::int64_t k) {
        return bound(vae, x, labels, Rng(1, Purpose::noise, static_cast<std::uint64_t>(k)))
                   .total() *
               (1 / 64.0);
      });
  EXPECT_GT(first, 0.3);
  EXPECT_LT(last, 0.05);
}

// The loop of fit() is AdamW's: a weight moves to the minimum, and holds its moving average afterwards.
TEST(Fit, FindsAMinimumAndStopsAtANumberThatIsNone) {
  Params params(1);
  const Param w = params.add("w", {2}, zeros());
  const auto loss = [&](std::int64_t) { return mse(w, Tensor::from<float>({2}, {3, -1})); };
  std::int64_t calls = 0;
  fit(params,
      {.steps = 400,
       .lr = 0.1,
       .ema = 0.9,
       .on_step = [&](std::int64_t k, double) { EXPECT_EQ(k, calls++); }},
      loss);
  EXPECT_EQ(calls, 400);
  EXPECT_NEAR(w.var().value().data<float>()[0], 3, 1e-2);
  EXPECT_NEAR(w.var().value().data<float>()[1], -1, 1e-2);
  EXPECT_THROW(fit(params, {.steps = 1}, [&](std::int64_t) { return log(mean(w.var()) * -1.0); }),
               Error);
}

}  // namespace
}  // namespace sfumato::nn
