// The engine: what is recorded, in which order gradients flow, what is freed, what is refused.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <string>

#include "autograd/flops.h"
#include "autograd/ops.h"
#include "tensor/memory.h"

namespace sfumato {
namespace {

Var leaf(std::initializer_list<double> v) {
  return Var(Tensor::from<double>({static_cast<std::int64_t>(v.size())}, v), true);
}

TEST(Engine, GradientsAddUpOverPaths) {
  const Var x = leaf({3});
  const Var a = x * 2.0, b = square(x);
  sum(a * b + a).backward();  // 2x³ + 2x -> 6x² + 2
  EXPECT_DOUBLE_EQ(x.grad().item(), 56);
}

TEST(Engine, AnyNumberOfInputs) {
  std::vector<Var> x;
  for (int i = 0; i < 12; ++i) x.push_back(leaf({1.0 * i}));
  const Var y =
      concat_rows({x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11]});
  sum(square(y)).backward();
  for (int i = 0; i < 12; ++i) EXPECT_DOUBLE_EQ(x[i].grad().item(), 2 * i);
}

// Two for each product that an output sums over; nothing for the rest.
TEST(Engine, OperationsStateTheirFlops) {
  const auto count = [](const std::function<void()>& f) {
    const NoGrad no_grad;
    FlopCounter counter;
    f();
    return counter.total;
  };
  const Tensor x = Tensor::zeros({2, 5, 6, 8}), rows = Tensor::zeros({2, 5, 8});
  EXPECT_EQ(count([&] {
              conv2d(x, Tensor::zeros({3, 8, 3, 3}), {}, Conv2dOptions::padded(1));
            }),
            2.0 * (2 * 5 * 6 * 3) * (8 * 3 * 3));
  EXPECT_EQ(count([&] {
              linear(rows, Tensor::zeros({4, 8}), Tensor::zeros({4}));
            }),
            2.0 * (2 * 5 * 4) * 8);
  EXPECT_EQ(count([&] { matmul(rows, Tensor::zeros({8, 4})); }), 2.0 * (2 * 5 * 4) * 8);
  const Tensor keys = Tensor::zeros({2, 7, 8});
  EXPECT_EQ(count([&] { attention(rows, keys, keys, 2); }), 2 * 2.0 * (2 * 5 * 8) * 7);
  EXPECT_EQ(count([&] {
              self_attention(Tensor::zeros({2, 5, 24}), 2);
            }),
            2 * 2.0 * (2 * 5 * 8) * 5);
  EXPECT_EQ(count([&] { silu(square(Var(rows)) + rows); }), 0);
}

TEST(Engine, GradientsAddUpOverBackwardCallsUntilZeroed) {
  Var x = leaf({3});
  sum(square(x)).backward();
  sum(square(x)).backward();
  EXPECT_DOUBLE_EQ(x.grad().item(), 12);
  x.zero_grad();
  EXPECT_FALSE(x.grad().defined());
}

TEST(Engine, GradientSharedByTwoInputsIsNotChangedInPlace) {
  const Var x = leaf({1}), y = leaf({1});
  const Var s = x + y;          // both get dy itself
  sum(s * 3.0 + x).backward();  // and x one more
  EXPECT_DOUBLE_EQ(x.grad().item(), 4);
  EXPECT_DOUBLE_EQ(y.grad().item(), 3);
}

TEST(Engine, ParameterAccumulatesIntoItsSlot) {
  Tensor slot = Tensor::zeros({2}, DType::f64);
  const Var p = Var::parameter(Tensor::full({2}, 1, DType::f64), slot);
  sum(p * 5.0).backward();
  sum(p).backward();
  EXPECT_DOUBLE_EQ(slot.data<double>()[1], 6);
}

// The first gradient after zero_grad() is written into the slot (Needs::room), later ones are added.
TEST(Engine, ParameterOfTwoOperationsGetsTheSum) {
  Tensor slot = Tensor::full({2, 2}, NAN);
  Var w = Var::parameter(Tensor::full({2, 2}, 3), slot);
  const Var x(Tensor::full({1, 2}, 1));
  for (int time = 0; time < 2; ++time) {
    w.zero_grad();
    sum(linear(x, w, {}) + linear(x * 2.0, w, {})).backward();
    for (const float g : slot.values<float>()) EXPECT_EQ(g, 3);
  }
  sum(linear(x, w, {})).backward();
  for (const float g : slot.values<float>()) EXPECT_EQ(g, 4);
  w.zero_grad();
  sum(matmul(w, w)).backward();  // both inputs are the same parameter
  for (const float g : slot.values<float>()) EXPECT_EQ(g, 12);
}

TEST(Engine, NoGradRecordsNothing) {
  const Var x = leaf({1});
  {
    NoGrad guard;
    EXPECT_FALSE(square(x).requires_grad());
  }
  EXPECT_TRUE(square(x).requires_grad());
}

TEST(Engine, DeepGraphNeedsNoDeepStack) {
  Var x = leaf({1}), y = x;
  for (int i = 0; i < 300000; ++i) y = y + 1e-9;
  sum(y).backward();
  EXPECT_DOUBLE_EQ(x.grad().item(), 1);
  y = x;
  for (int i = 0; i < 300000; ++i) y = y + 1e-9;  // dropped without backward
}

TEST(Engine, SecondBackwardIsRefused) {
  const Var x = leaf({1});
  const Var y = sum(square(x));
  y.backward();
  EXPECT_THROW(y.backward(), Error);
}

TEST(Engine, WrongGradientShapeNamesTheOperation) {
  const Var x = leaf({1, 2});
  const Var y = record("broken", Tensor::zeros({2}, DType::f64), {x}, kNoProducts,
                       [](const Tensor&) { return Gradients{Tensor::zeros({3}, DType::f64)}; });
  try {
    sum(y).backward();
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[broken] gradient of input 0 is f64 [3], the input is f64 [2]");
  }
}

TEST(Engine, BackwardFreesActivations) {
  const std::size_t before = memory::stats().bytes_in_use;
  {
    Var x(Tensor::zeros({1 << 16}), true);
    Var y = x;
    for (int i = 0; i < 20; ++i) y = square(y);
    Var loss = sum(y);
    y = Var();
    const std::size_t forward = memory::stats().bytes_in_use;
    loss.backward();
    EXPECT_LT(memory::stats().bytes_in_use, forward - 15 * (std::size_t{4} << 16));
  }
  EXPECT_EQ(memory::stats().bytes_in_use, before);
}

// What an operation refuses, and how it says so. The messages are part of the interface.
struct Refusal {
  std::string name;
  std::function<void()> f;
  std::string message;
};

Var zeros(const Shape& s) { return Var(Tensor::zeros(s)); }

const Refusal kRefusals[] = {
    {"add",
     [] {
       zeros({2, 3}) + zeros({4});
     },
     "[add] shapes [2, 3] and [4] do not broadcast"},
    {"dtype", [] { zeros({2}) + Var(Tensor::zeros({2}, DType::f64)); },
     "[add] second input is f64, expected f32"},
    {"integers", [] { square(Var(Tensor::zeros({2}, DType::i64))); },
     "[square] expected f32 or f64, got i64"},
    {"linear",
     [] {
       linear(zeros({2, 3}), zeros({4, 5}), {});
     },
     "[linear] input [2, 3] does not fit weight [4, 5]"},
    {"linear_bias",
     [] {
       linear(zeros({2, 5}), zeros({4, 5}), zeros({5}));
     },
     "[linear] bias has shape [5], expected [4]"},
    {"conv_channels",
     [] {
       conv2d(zeros({1, 4, 4, 3}), zeros({2, 5, 3, 3}), {}, {});
     },
     "[conv2d] input [1, 4, 4, 3] has 3 channels, weight [2, 5, 3, 3] expects 5"},
    {"conv_skip",
     [] {
       conv2d(zeros({1, 4, 4, 3}), zeros({2, 5, 3, 3}), {}, {}, {.skip = zeros({1, 2, 4, 2})});
     },
     "[conv2d] skip has shape [1, 2, 4, 2], expected [1, 4, 4, 2]"},
    {"conv_small",
     [] {
       conv2d(zeros({1, 2, 2, 5}), zeros({2, 5, 3, 3}), {}, {});
     },
     "[conv2d] input [1, 2, 2, 5] is smaller than kernel 3x3 (stride 1)"},
    {"group_norm",
     [] {
       group_norm(zeros({2, 4, 30}), zeros({30}), zeros({30}), 8, 1e-5);
     },
     "[group_norm] channels 30 is not divisible by groups 8"},
    {"attention",
     [] {
       attention(zeros({1, 4, 6}), zeros({1, 4, 6}), zeros({1, 4, 6}), 4);
     },
     "[attention] channels 6 is not divisible by heads 4"},
    {"embedding",
     [] {
       embedding(zeros({3, 2}), Tensor::full({1}, 3, DType::i64));
     },
     "[embedding] index 3 is not in 0..2"},
    {"mse", [] { mse(zeros({2}), zeros({3})); }, "[mse] second input has shape [3], expected [2]"},
    {"dropout", [] { dropout(zeros({2}), 1.0, Rng(0)); }, "[dropout] expected 0 <= p < 1, got 1"},
    {"backward", [] { Var(Tensor::zeros({2}), true).backward(); },
     "[backward] expected a single element, got shape [2]"},
    {"no_grad", [] { zeros({}).backward(); }, "[backward] nothing here requires a gradient"},
    {"reshape",
     [] {
       reshape(zeros({2, 3}), {4});
     },
     "[reshape] [2, 3] does not fit into [4]"},
    {"concat",
     [] {
       concat(zeros({2, 3}), zeros({3, 3}));
     },
     "[concat] shapes [2, 3] and [3, 3] differ before the innermost axis"},
    {"slice",
     [] {
       slice_last(zeros({2, 3}), 1, 4);
     },
     "[slice_last] [1, 4) is out of range for [2, 3]"},
    {"shortcut",
     [] {
       conv2d(zeros({1, 4, 4, 2}), zeros({3, 2, 1, 1}), {}, {},
              {.shortcut = ConvShortcut{zeros({1, 4, 2, 2}), {}, zeros({3, 2, 1, 1}), {}}});
     },
     "[conv2d] shortcut of [1, 4, 2, 2] by [3, 2, 1, 1] does not fit output [1, 4, 4, 3]"},
    {"shortcut_and_residual",
     [] {
       const Var x = zeros({1, 4, 4, 3}), w = zeros({3, 3, 1, 1});
       conv2d(x, w, {}, {}, {.residual = x, .shortcut = ConvShortcut{x, {}, w, {}}});
     },
     "[conv2d] expected a residual or a shortcut, got both"},
    {"split",
     [] {
       split_last(zeros({2, 3}), std::array<std::int64_t, 2>{1, 1});
     },
     "[split_last] [2, 3] does not fall into parts of 1, 1"},
    {"split_negative",
     [] {
       split_last(zeros({2, 3}), std::array<std::int64_t, 2>{4, -1});
     },
     "[split_last] [2, 3] does not fall into parts of 4, -1"},
    {"pool",
     [] {
       avg_pool2x(zeros({1, 1, 4, 2}));
     },
     "[avg_pool2x] input [1, 1, 4, 2] is smaller than 2x2"},
    {"labels",
     [] {
       cross_entropy(zeros({1, 3}), Tensor::full({1}, -1, DType::i64));
     },
     "[cross_entropy] label -1 is not in 0..2"},
};

class Refuses : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refuses, WithAMessage) {
  try {
    GetParam().f();
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.what(), GetParam().message);
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Refuses, ::testing::ValuesIn(kRefusals),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace sfumato
