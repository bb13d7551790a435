#include "autograd/fixed_weights.h"

#include <gtest/gtest.h>

#include <cstring>

#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"
#include "tensor/rng.h"

namespace sfumato {
namespace {

Tensor normal(const Shape& shape, std::uint64_t k) {
  return Rng(1, Purpose::test, k).normal(shape);
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

TEST(FixedWeights, ParametersAreTransformedOnceAndNothingElseIs) {
  const NoGrad no_grad;
  const Tensor x = normal({2, 12, 12, 16}, 0);
  Var parameter(normal({16, 16, 3, 3}, 1), true);
  const auto convolve = [&](const Var& weight) {
    return conv2d(x, weight, {}, Conv2dOptions::padded(1)).value();
  };
  const Tensor expected = convolve(parameter), other_weight = normal({16, 16, 3, 3}, 2);
  const Tensor other = convolve(other_weight);
  {
    const FixedWeights fixed;
    EXPECT_TRUE(equal(convolve(parameter), expected));
    EXPECT_TRUE(equal(convolve(parameter), expected)) << "from what was kept";
    // Computed weights: the second lies where the first lay.
    for (int i = 0; i < 2; ++i) {
      const Tensor weight = i == 0 ? parameter.value().clone() : other_weight.clone();
      EXPECT_TRUE(equal(convolve(weight), i == 0 ? expected : other)) << i;
    }
  }
  parameter.value().copy_from(other_weight);
  EXPECT_TRUE(equal(convolve(parameter), other)) << "nothing is kept for later";
}

TEST(FixedWeights, MakesOncePerWeight) {
  int made = 0;
  const auto make = [&] { return ++made, Tensor::zeros({1}); };
  const Var a(Tensor::zeros({3}), true), b(Tensor::zeros({3}), true), computed(Tensor::zeros({3}));
  FixedWeights::once(a, 0, make);
  EXPECT_EQ(made, 1) << "none alive";
  const FixedWeights fixed;
  for (int i = 0; i < 2; ++i) {
    for (const Var& w : {a, b, computed}) FixedWeights::once(w, 0, make);
  }
  EXPECT_EQ(made, 1 + 1 + 1 + 2);
  FixedWeights::once(a, 1, make);
  EXPECT_EQ(made, 1 + 1 + 1 + 2 + 1) << "another use";
}

TEST(FixedWeights, PlainAndDoubledPixelsKeepTheirOwn) {
  const NoGrad no_grad;
  const Tensor x = normal({2, 12, 12, 16}, 0);
  const Var parameter(normal({16, 16, 3, 3}, 1), true);
  const auto convolve = [&](bool upsample) {
    Conv2dOptions options = Conv2dOptions::padded(1);
    options.upsample = upsample;
    return conv2d(x, parameter, {}, options).value();
  };
  const Tensor plain = convolve(false), doubled = convolve(true);
  for (const bool first : {false, true}) {
    const FixedWeights fixed;
    for (const bool upsample : {first, !first, first})
      EXPECT_TRUE(equal(convolve(upsample), upsample ? doubled : plain));
  }
}

}  // namespace
}  // namespace sfumato
