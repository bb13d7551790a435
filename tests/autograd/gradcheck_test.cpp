// Every differentiable operation against central differences in f64. To test a new one: add its
// row.
#include "autograd/gradcheck.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "autograd/checkpoint.h"
#include "autograd/ops.h"
#include "autograd/pointwise.h"
#include "tests/devices.h"

namespace sfumato {
namespace {

using In = std::span<const Var>;

struct OpCase {
  std::string name;
  std::function<Var(In)> f;
  std::vector<Shape> inputs;
  double shift =
      0;  // added to the standard normal inputs, to keep log and sqrt where they are smooth
};

Tensor numbers(const Shape& shape, std::uint64_t stream, double shift = 0) {
  Tensor x = Rng(11, Purpose::test, stream).normal(shape, DType::f64);
  for (double& v : x.values<double>()) v = shift > 0 ? std::abs(v) + shift : v;
  return x;
}

// Where `beside` is.
Tensor indices(std::initializer_list<std::int64_t> v, const Var& beside) {
  return Tensor::from<std::int64_t>({static_cast<std::int64_t>(v.size())}, v)
      .to(beside.value().device());
}

Var conv(In in, std::int64_t stride, std::int64_t pad) {
  return conv2d(in[0], in[1], in.size() > 2 ? in[2] : Var(), Conv2dOptions::padded(pad, stride));
}

const OpCase kCases[] = {
    {"add", [](In i) { return i[0] + i[1]; }, {{2, 3}, {2, 3}}},
    {"add_broadcast_row", [](In i) { return i[0] + i[1]; }, {{2, 3, 4}, {4}}},
    {"add_broadcast_middle", [](In i) { return i[0] + i[1]; }, {{2, 3, 4, 5}, {2, 1, 1, 5}}},
    {"add_broadcast_both", [](In i) { return i[0] + i[1]; }, {{3, 1}, {1, 4}}},
    {"add_scalar", [](In i) { return i[0] + i[1]; }, {{3, 2}, {}}},
    {"add_twice", [](In i) { return i[0] + i[0] + i[0]; }, {{3}}},
    {"sub", [](In i) { return i[0] - i[1]; }, {{2, 3}, {3}}},
    {"mul", [](In i) { return i[0] * i[1]; }, {{2, 3}, {2, 3}}},
    {"mul_self", [](In i) { return i[0] * i[0]; }, {{5}}},
    {"mul_broadcast", [](In i) { return i[0] * i[1]; }, {{2, 1, 3}, {4, 1}}},
    {"div", [](In i) { return i[0] / i[1]; }, {{2, 3}, {3}}, 0.5},
    {"scale", [](In i) { return i[0] * 2.5; }, {{4}}},
    {"shift", [](In i) { return i[0] + 2.5; }, {{4}}},
    {"negate", [](In i) { return -i[0]; }, {{4}}},
    {"square", [](In i) { return square(i[0]); }, {{1}}},
    {"exp", [](In i) { return exp(i[0]); }, {{7}}},
    {"log", [](In i) { return log(i[0]); }, {{7}}, 0.3},
    {"sqrt", [](In i) { return sqrt(i[0]); }, {{7}}, 0.3},
    {"silu", [](In i) { return silu(i[0]); }, {{3, 11}}},
    {"sigmoid", [](In i) { return sigmoid(i[0]); }, {{9}}},
    {"tanh", [](In i) { return tanh(i[0]); }, {{9}}},
    {"relu", [](In i) { return relu(i[0]); }, {{9}}},
    {"gelu", [](In i) { return gelu(i[0]); }, {{9}}},
    {"gelu_tanh", [](In i) { return gelu_tanh(i[0]); }, {{3, 11}}},
    {"softmax", [](In i) { return softmax(i[0]); }, {{3, 7}}},
    {"softmax_of_one", [](In i) { return softmax(i[0]); }, {{3, 1}}},
    {"sum", [](In i) { return sum(i[0]); }, {{2, 3}}},
    {"mean", [](In i) { return mean(i[0]); }, {{2, 3}}},
    {"mse", [](In i) { return mse(i[0], i[1]); }, {{2, 3}, {2, 3}}},
    {"sum_to",
     [](In i) {
       return sum_to(i[0], {3, 1});
     },
     {{2, 3, 4}}},
    {"cross_entropy",
     [](In i) {
       return cross_entropy(i[0], indices({2, 0, 4}, i[0]));
     },
     {{3, 5}}},
    {"reshape",
     [](In i) {
       return reshape(i[0], {3, -1});
     },
     {{2, 3, 2}}},
    {"permute",
     [](In i) {
       return permute(i[0], {2, 0, 1});
     },
     {{2, 3, 4}}},
    {"concat", [](In i) { return concat(i[0], i[1]); }, {{2, 2, 3}, {2, 2, 1}}},
    {"slice_last", [](In i) { return slice_last(i[0], 1, 3); }, {{2, 4}}},
    // One part is used twice, one not at all.
    {"split_last",
     [](In i) {
       const Vars parts = split_last(i[0], std::array<std::int64_t, 4>{2, 3, 0, 1});
       return square(parts[0]) + parts[0] * parts[3];
     },
     {{2, 3, 6}}},
    {"embedding",
     [](In i) {
       return embedding(i[0], indices({2, 0, 2}, i[0]));
     },
     {{4, 3}}},
    {"matmul", [](In i) { return matmul(i[0], i[1]); }, {{2, 3, 5}, {5, 4}}},
    {"bmm", [](In i) { return bmm(i[0], i[1]); }, {{3, 2, 5}, {3, 5, 4}}},
    {"matmul_of_one", [](In i) { return matmul(i[0], i[1]); }, {{1, 1}, {1, 1}}},
    {"linear", [](In i) { return linear(i[0], i[1], i[2]); }, {{2, 3, 5}, {4, 5}, {4}}},
    {"linear_no_bias", [](In i) { return linear(i[0], i[1], {}); }, {{3, 17}, {19, 17}}},
    {"conv2d_3x3", [](In i) { return conv(i, 1, 1); }, {{2, 5, 4, 3}, {2, 3, 3, 3}, {2}}},
    {"conv2d_3x3_odd", [](In i) { return conv(i, 1, 1); }, {{1, 7, 7, 17}, {18, 17, 3, 3}, {18}}},
    {"conv2d_1x1", [](In i) { return conv(i, 1, 0); }, {{2, 3, 3, 5}, {4, 5, 1, 1}, {4}}},
    {"conv2d_shortcut",
     [](In i) {
       return conv2d(i[0], i[1], i[2], Conv2dOptions::padded(1),
                     {.norm = InputNorm{i[3], i[4], 2, 1e-5},
                      .shortcut = ConvShortcut{i[5], i[6], i[7], i[8]}}) *
              (i[5] + 1.0);
     },
     {{2, 5, 3, 4}, {3, 4, 3, 3}, {3}, {4}, {4}, {2, 5, 3, 3}, {2, 5, 3, 2}, {3, 5, 1, 1}, {3}}},
    {"conv2d_norm_without_silu",
     [](In i) {
       return conv2d(i[0], i[1], i[2], {}, {.norm = InputNorm{i[3], i[4], 2, 1e-5, false}});
     },
     {{2, 3, 3, 4}, {5, 4}, {5}, {4}, {4}}},
    {"conv2d_3x3_norm_without_silu",
     [](In i) {
       return conv2d(i[0], i[1], i[2], Conv2dOptions::padded(1),
                     {.norm = InputNorm{i[3], i[4], 2, 1e-5, false}, .residual = i[0]});
     },
     {{2, 6, 5, 8}, {8, 8, 3, 3}, {8}, {8}, {8}}},
    {"conv_transpose2d",
     [](In i) {
       return conv_transpose2d(i[0], i[1], i[2], {.stride = 2, .padding = 1, .output_padding = 1});
     },
     {{2, 3, 4, 3}, {3, 2, 3, 3}, {2}}},
    {"conv_transpose2d_no_bias",
     [](In i) { return conv_transpose2d(i[0], i[1], {}, {.stride = 3}); },
     {{1, 2, 2, 2}, {2, 5, 2, 4}}},
    {"avg_pool2d", [](In i) { return avg_pool2d(i[0], 3, 2); }, {{2, 5, 6, 3}}},
    {"max_pool2d", [](In i) { return max_pool2d(i[0], 3, 2); }, {{2, 5, 6, 3}}},
    {"max_pool2d_gaps", [](In i) { return max_pool2d(i[0], 2, 3); }, {{1, 7, 5, 2}}},
    // One input used twice: the second operation adds to the first one's gradient as it writes.
    {"conv2d_shared_input",
     [](In i) {
       const Conv2dOptions o = Conv2dOptions::padded(1);
       return conv2d(i[0], i[1], {}, o,
                     {.norm = InputNorm{i[2], i[3], 2, 1e-5}, .residual = i[0]}) +
              conv2d(i[0], i[1], {}, o) + group_norm(i[0], i[2], i[3], 2, 1e-5);
     },
     {{2, 3, 2, 4}, {4, 4, 3, 3}, {4}, {4}}},
    {"modulate", [](In i) { return modulate(i[0], i[1], i[2]); }, {{2, 3, 17}, {2, 17}, {2, 17}}},
    {"gated_sum",
     [](In i) { return gated_sum(i[0], i[1], i[2]); },
     {{2, 3, 17}, {2, 17}, {2, 3, 17}}},
    {"self_attention", [](In i) { return self_attention(i[0], 2); }, {{2, 5, 12}}},
    {"concat_rows",
     [](In i) {
       return concat_rows({i[0], i[1], i[2]});
     },
     {{2, 3}, {1, 3}, {4, 3}}},
    {"checkpoint",
     [](In i) {
       const auto f = [](std::span<const Var> in) { return silu(in[0] * in[1]) + in[0]; };
       return checkpoint(f, {checkpoint(f, {i[0], i[1]}), i[1]});
     },
     {{3, 2}, {3, 2}}},
    {"conv2d_upsample",
     [](In i) {
       Conv2dOptions o = Conv2dOptions::padded(1);
       o.upsample = true;
       return conv2d(i[0], i[1], i[2], o);
     },
     {{2, 3, 2, 3}, {2, 3, 3, 3}, {2}}},
    {"conv2d_fused",
     [](In i) {
       return conv2d(i[0], i[1], i[2], Conv2dOptions::padded(1),
                     {.norm = InputNorm{i[3], i[4], 2, 1e-5}, .per_image = i[5], .residual = i[6]});
     },
     {{2, 4, 3, 4}, {3, 4, 3, 3}, {3}, {4}, {4}, {2, 3}, {2, 4, 3, 3}}},
    {"conv2d_skip",
     [](In i) {
       return conv2d(i[0], i[1], i[2], Conv2dOptions::padded(1),
                     {.norm = InputNorm{i[3], i[4], 2, 1e-5}, .skip = i[5]});
     },
     {{2, 4, 3, 3}, {3, 4, 3, 3}, {3}, {4}, {4}, {2, 4, 3, 1}}},
    {"conv2d_1x1_skip_itself",
     [](In i) { return conv2d(i[0], i[1], i[2], Conv2dOptions::padded(0), {.skip = i[0]}); },
     {{2, 2, 3, 3}, {4, 6, 1, 1}, {4}}},
    {"conv2d_no_bias", [](In i) { return conv(i, 1, 1); }, {{1, 4, 4, 2}, {3, 2, 3, 3}}},
    {"conv2d_stride2", [](In i) { return conv(i, 2, 1); }, {{2, 6, 6, 3}, {4, 3, 3, 3}, {4}}},
    {"conv2d_stride2_odd", [](In i) { return conv(i, 2, 1); }, {{1, 7, 5, 2}, {3, 2, 3, 3}, {3}}},
    {"conv2d_stride3_5x5", [](In i) { return conv(i, 3, 2); }, {{1, 9, 8, 2}, {2, 2, 5, 5}, {2}}},
    {"conv2d_pad_below_right",
     [](In i) { return conv2d(i[0], i[1], i[2], {.stride = 2, .pad_bottom = 1, .pad_right = 1}); },
     {{2, 6, 6, 3}, {4, 3, 3, 3}, {4}}},
    {"conv2d_one_pixel", [](In i) { return conv(i, 1, 1); }, {{1, 1, 1, 1}, {1, 1, 3, 3}, {1}}},
    {"conv2d_1x3_kernel", [](In i) { return conv(i, 1, 0); }, {{1, 2, 5, 2}, {3, 2, 1, 3}, {3}}},
    {"upsample_nearest2x", [](In i) { return upsample_nearest2x(i[0]); }, {{2, 2, 3, 2}}},
    {"avg_pool2x", [](In i) { return avg_pool2x(i[0]); }, {{2, 4, 6, 2}}},
    {"avg_pool2x_odd", [](In i) { return avg_pool2x(i[0]); }, {{1, 5, 3, 2}}},
    {"group_norm",
     [](In i) { return group_norm(i[0], i[1], i[2], 2, 1e-5); },
     {{2, 3, 3, 4}, {4}, {4}}},
    {"group_norm_odd",
     [](In i) { return group_norm(i[0], i[1], i[2], 3, 1e-5); },
     {{2, 5, 9}, {9}, {9}}},
    {"group_norm_one_group",
     [](In i) { return group_norm(i[0], i[1], i[2], 1, 1e-5); },
     {{1, 2, 17}, {17}, {17}}},
    {"group_norm_silu",
     [](In i) { return group_norm(i[0], i[1], i[2], 2, 1e-5, true); },
     {{2, 3, 3, 6}, {6}, {6}}},
    {"layer_norm", [](In i) { return layer_norm(i[0], i[1], i[2], 1e-5); }, {{3, 2, 7}, {7}, {7}}},
    {"attention",
     [](In i) { return attention(i[0], i[1], i[2], 2); },
     {{2, 5, 6}, {2, 5, 6}, {2, 5, 6}}},
    {"attention_one_head",
     [](In i) { return attention(i[0], i[1], i[2], 1); },
     {{1, 3, 9}, {1, 3, 9}, {1, 3, 9}}},
    {"attention_cross",
     [](In i) { return attention(i[0], i[1], i[2], 3); },
     {{2, 3, 3}, {2, 17, 3}, {2, 17, 3}}},
    {"attention_one_key",
     [](In i) { return attention(i[0], i[1], i[2], 1); },
     {{1, 2, 2}, {1, 1, 2}, {1, 1, 2}}},
    {"dropout", [](In i) { return dropout(i[0], 0.4, Rng(3, Purpose::dropout)); }, {{5, 7}}},
};

class OpGradient : public ::testing::TestWithParam<OpCase> {};

TEST_P(OpGradient, AgreesWithCentralDifferences) {
  const OpCase& c = GetParam();
  std::vector<Tensor> inputs;
  for (const Shape& s : c.inputs) inputs.push_back(numbers(s, inputs.size(), c.shift));
  for (const Device device : devices())
    EXPECT_NO_THROW(gradcheck(c.name, c.f, inputs, {.device = device})) << name(device);
}

INSTANTIATE_TEST_SUITE_P(Ops, OpGradient, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

// f32 and f64 run the same code; f32 must be as close as its rounding allows.
TEST_P(OpGradient, SinglePrecisionAgreesWithDouble) {
  const OpCase& c = GetParam();
  auto run = [&](DType dtype) {
    Vars vars;
    for (const Shape& s : c.inputs)
      vars.emplace_back(numbers(s, vars.size(), c.shift).to(dtype), true);
    const Var y = c.f(vars);
    y.backward(Rng(5, Purpose::test).normal(y.shape(), dtype));
    std::vector<Tensor> results{y.value()};
    for (const Var& v : vars) results.push_back(v.grad());
    return results;
  };
  const auto single = run(DType::f32), twice = run(DType::f64);
  for (std::size_t k = 0; k < single.size(); ++k) {
    double error = 0, norm = 0;
    for (std::int64_t i = 0; i < single[k].size(); ++i) {
      const double a = single[k].data<float>()[i], b = twice[k].data<double>()[i];
      error += (a - b) * (a - b);
      norm += b * b;
    }
    EXPECT_LE(std::sqrt(error), 2e-5 * std::sqrt(norm) + 1e-6)
        << (k ? "gradient of input " : "output ") << k - 1;
  }
}

// At 0 and at ±large the operations stay finite, with the limits one expects.
TEST(OpEdges, LargeInputs) {
  const Tensor x = Tensor::from<double>({5}, {-1000.0, -50.0, 0.0, 50.0, 1000.0});
  for (auto f : {silu, sigmoid, static_cast<Var (*)(const Var&)>(tanh), gelu, softmax}) {
    for (DType dtype : {DType::f32, DType::f64}) {
      Var v(x.to(dtype), true);
      Var y = f(v);
      y.backward(Tensor::full({5}, 1, dtype));
      for (const Tensor& t : {y.value(), v.grad()})
        for (std::int64_t i = 0; i < 5; ++i)
          EXPECT_TRUE(std::isfinite(t.to(DType::f64).data<double>()[i])) << i;
    }
  }
  EXPECT_EQ(silu(Var(x)).value().data<double>()[4], 1000.0);
  EXPECT_EQ(silu(Var(x)).value().data<double>()[2], 0.0);
}

struct WrongSquare {
  static constexpr const char* name = "wrong_square";
  template <class T>
  T fwd(T x) const {
    return x * x;
  }
  template <class T>
  T bwd(T x, T, T dy) const {
    return T(2.02) * x * dy;
  }  // one percent off
};

TEST(Gradcheck, FailsAWrongGradientAndNamesOpInputAndElement) {
  auto f = [](In in) { return in[0] + pointwise(in[1], WrongSquare{}); };
  try {
    gradcheck("wrong_square", f, {numbers({3}, 1), numbers({3}, 2)});
    FAIL() << "the wrong gradient passed";
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find("[wrong_square]"), std::string::npos) << what;
    EXPECT_NE(what.find("input 1"), std::string::npos) << what;
    EXPECT_NE(what.find("element 0"), std::string::npos) << what;
  }
}

TEST(Gradcheck, FailsAMissingGradientAndANan) {
  auto detached = [](In in) { return Var(in[0].value()) + in[1]; };
  EXPECT_THROW(gradcheck("detached", detached, {numbers({2}, 1), numbers({2}, 2)}), Error);
  auto nan = [](In in) { return sqrt(in[0]); };
  EXPECT_THROW(gradcheck("nan", nan, {Tensor::from<double>({1}, {-1.0})}), Error);
}

}  // namespace
}  // namespace sfumato
