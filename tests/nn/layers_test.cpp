// Every layer through the conformance kit, and the kit through layers that are wrong on purpose.
#include "nn/layers.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <string>

#include "nn/classic_layers.h"
#include "nn/conformance.h"
#include "nn/dit.h"
#include "nn/lucid_unet.h"
#include "nn/unet.h"
#include "tensor/arithmetic.h"
#include "tests/devices.h"
#include "tests/nn/small_dit.h"
#include "tests/norms.h"

namespace sfumato::nn {
namespace {

// Wraps a resnet with a fixed embedding of the timestep, so that it maps one Var.
std::function<Var(const Var&)> with_temb(ResnetBlock block, std::int64_t n, std::int64_t temb) {
  return [block, n, temb](const Var& x) {
    const Tensor t = Rng(9, Purpose::test, 0, x.value().device()).normal({n, temb}, x.dtype());
    return block(x, block.time_emb_proj(t, {.silu = true}), {.training = true, .seed = 3});
  };
}

// Maps one Var, with timesteps and labels that are drawn.
std::function<Var(const Var&)> told(std::shared_ptr<const Network> net) {
  return [net](const Var& x) {
    const std::int64_t n = x.dim(0);
    const Device device = x.value().device();
    const Tensor t = Rng(1, Purpose::test, 0, device).randint({n}, 1000);
    Tensor labels;
    if (net->conditioning.has_table())
      labels = Rng(2, Purpose::test, 0, device).randint({n}, net->conditioning.rows);
    return (*net)(x, t, labels);
  };
}

std::function<Var(const Var&)> unet(const Scope& s, const UNetConfig& config) {
  return told(std::make_shared<UNet>(s, config));
}

// A new one is the identity of nothing: numbers in the place of its zeros show what it computes.
std::function<Var(const Var&)> dit(const Scope& s, const DiTConfig& config) {
  auto net = std::make_shared<DiT>(s, config);
  std::uint64_t stream = 0;
  for (const Params::Entry& p : s.params().entries()) {
    Tensor value = p.value;
    const Tensor noise = Rng(8, Purpose::test, stream++).normal(value.shape(), value.dtype());
    value.copy_from(add(value, scale(noise, 0.3)));
  }
  return told(net);
}

UNetConfig small_unet() {
  UNetConfig c;
  c.in_channels = c.out_channels = 1;
  c.block_out_channels = {4, 6};
  c.down_attention = {false, true};
  c.up_attention = {true, false};
  c.layers_per_block = 1;
  c.norm_num_groups = 2;
  c.attention_head_dim = 3;
  c.conditioning = {.kind = Conditioning::Kind::table, .rows = 5};
  return c;
}

std::function<Var(const Var&)> lucid(const Scope& s) {
  LucidUnetConfig c;
  c.dim = 4;
  c.dim_mults = {1, 1};
  c.channels = 1;
  c.attn_heads = {2};
  c.attn_dim_head = {2};
  return told(std::make_shared<LucidUnet>(s, c));
}

const LayerCase kLayers[] = {
    {"Linear", [](const Scope& s) { return Linear(s, 5, 3); }, {2, 4, 5}, {2, 4, 3}},
    {"Conv2d_1x1",
     [](const Scope& s) { return Conv2d(s, 3, 5, 1, {}); },
     {2, 3, 4, 3},
     {2, 3, 4, 5}},
    {"Conv2d_3x3",
     [](const Scope& s) { return Conv2d(s, 3, 5, 3, Conv2dOptions::padded(1)); },
     {2, 5, 4, 3},
     {2, 5, 4, 5}},
    {"Conv2d_general",
     [](const Scope& s) { return Conv2d(s, 2, 3, 5, Conv2dOptions::padded(1, 3)); },
     {1, 11, 8, 2},
     {1, 3, 2, 3}},
    {"GroupNorm",
     [](const Scope& s) { return GroupNorm(s, 6, 3, 1e-5); },
     {2, 3, 3, 6},
     {2, 3, 3, 6}},
    {"LayerNorm_without_affine",
     [](const Scope& s) { return LayerNorm(s, 7, 1e-5, false); },
     {3, 2, 7},
     {3, 2, 7}},
    {"LayerNorm", [](const Scope& s) { return LayerNorm(s, 7); }, {3, 2, 7}, {3, 2, 7}},
    {"AttentionBlock",
     [](const Scope& s) {
       return AttentionBlock(s, {.channels = 8, .head_dim = 4, .norm_groups = 2});
     },
     {2, 3, 3, 8},
     {2, 3, 3, 8}},
    {"AttentionBlock_partial_heads",
     [](const Scope& s) {
       return AttentionBlock(
           s, {.channels = 10, .head_dim = 4, .norm_groups = {}, .output_scale = 1.5});
     },
     {1, 2, 3, 10},
     {1, 2, 3, 10}},
    {"ResnetBlock",
     [](const Scope& s) {
       return with_temb(ResnetBlock(s, {.in = 4, .out = 4, .temb = 6, .groups = 2}), 2, 6);
     },
     {2, 3, 3, 4},
     {2, 3, 3, 4}},
    {"ResnetBlock_widening",
     [](const Scope& s) {
       return with_temb(
           ResnetBlock(s, {.in = 4, .out = 6, .temb = 6, .groups = 2, .output_scale = 1.4}), 2, 6);
     },
     {2, 3, 3, 4},
     {2, 3, 3, 6}},
    {"ResnetBlock_scale_shift",
     [](const Scope& s) {
       return with_temb(
           ResnetBlock(s, {.in = 4, .out = 6, .temb = 6, .groups = 2, .scale_shift = true}), 2, 6);
     },
     {2, 3, 3, 4},
     {2, 3, 3, 6}},
    {"ResnetBlock_dropout",
     [](const Scope& s) {
       return with_temb(ResnetBlock(s, {.in = 4, .out = 4, .temb = 6, .groups = 2, .dropout = 0.3}),
                        2, 6);
     },
     {2, 3, 3, 4},
     {2, 3, 3, 4}},
    {"Downsample", [](const Scope& s) { return Downsample(s, 3, 1); }, {2, 6, 4, 3}, {2, 3, 2, 3}},
    {"Downsample_pad0",
     [](const Scope& s) { return Downsample(s, 3, 0); },
     {2, 6, 4, 3},
     {2, 3, 2, 3}},
    {"Upsample", [](const Scope& s) { return Upsample(s, 3); }, {2, 3, 2, 3}, {2, 6, 4, 3}},
    {"TimestepEmbedding",
     [](const Scope& s) { return TimestepEmbedding(s, 6, 8); },
     {3, 6},
     {3, 8}},
    {"RMSNorm", [](const Scope& s) { return RMSNorm(s, 7); }, {3, 2, 7}, {3, 2, 7}},
    {"AvgPool2d", [](const Scope&) { return AvgPool2d(2); }, {2, 5, 6, 3}, {2, 2, 3, 3}},
    {"MaxPool2d", [](const Scope&) { return MaxPool2d(3, 2); }, {2, 5, 7, 3}, {2, 2, 3, 3}},
    {"ConvTranspose2d",
     [](const Scope& s) {
       return ConvTranspose2d(s, 3, 2, 3, {.stride = 2, .padding = 1, .output_padding = 1});
     },
     {2, 3, 4, 3},
     {2, 6, 8, 2}},
    {"BatchNorm2d_training",
     [](const Scope& s) {
       const BatchNorm2d norm(s, 3);
       return [norm](const Var& x) { return norm(x, {.training = true}); };
     },
     {2, 3, 4, 3},
     {2, 3, 4, 3}},
    {"BatchNorm2d",
     [](const Scope& s) {
       const BatchNorm2d norm(s, 3);
       Tensor mean = norm.running_mean.value(), var = norm.running_var.value();
       mean.fill(0.3), var.fill(2.5);
       return [norm](const Var& x) { return norm(x, {}); };
     },
     {2, 3, 4, 3},
     {2, 3, 4, 3}},
    // (Its answer bends much: central differences are off by 5e-6.)
    {"DiT", [](const Scope& s) { return dit(s, small_dit()); }, {2, 8, 8, 1}, {2, 8, 8, 1}, 2e-5},
    // Another size than its own, two channels from one, positions and classes of nobody.
    {"DiT_of_everything_else",
     [](const Scope& s) {
       DiTConfig c = small_dit();
       c.num_layers = 1;
       c.out_channels = 2;
       c.gelu_approximate = false;
       c.norm_elementwise_affine = true;
       c.num_embeds_ada_norm = 0;
       return dit(s, c);
     },
     {1, 12, 12, 1},
     {1, 12, 12, 2}},
    // (Its older releases: golden_test.cpp.)
    {"LucidUnet", lucid, {1, 4, 2, 1}, {1, 4, 2, 1}},
    {"UNet", [](const Scope& s) { return unet(s, small_unet()); }, {2, 4, 6, 1}, {2, 4, 6, 1}},
};

class Layer : public ::testing::TestWithParam<LayerCase> {};

TEST_P(Layer, Conforms) {
  for (const Device device : devices()) {
    LayerCase c = GetParam();
    c.device = device;
    EXPECT_NO_THROW(check_layer(c)) << name(device);
  }
}

INSTANTIATE_TEST_SUITE_P(Nn, Layer, ::testing::ValuesIn(kLayers),
                         [](const auto& info) { return info.param.name; });

// ---- the kit finds what is wrong

std::string complaint(const LayerCase& c) {
  try {
    check_layer(c);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

struct Scaled {  // y = γ x
  Param gamma;
  explicit Scaled(const Scope& s) : gamma(s.param("gamma", {4}, ones())) {}
  Var operator()(const Var& x) const { return x * gamma; }
};

TEST(Conformance, FindsAWrongShape) {
  EXPECT_NE(complaint({"scaled", [](const Scope& s) { return Scaled(s); }, {2, 4}, {2, 5}})
                .find("expected [2, 5]"),
            std::string::npos);
}

TEST(Conformance, FindsAParameterThatTakesNoPart) {
  const auto make = [](const Scope& s) {
    s.param("unused", {3}, ones());
    return Scaled(s);
  };
  EXPECT_NE(complaint({"scaled", make, {2, 4}, {2, 4}}).find("got no gradient"), std::string::npos);
}

TEST(Conformance, FindsAWrongGradient) {
  const auto make = [](const Scope& s) {
    return [layer = Scaled(s)](const Var& x) {
      const Tensor g = layer.gamma.var().value();
      Tensor y = (Var(x.value()) * Var(g)).value();
      return record("half", y, {x, layer.gamma}, kNoProducts,
                    [xv = x.value(), g](const Tensor& dy) {
                      return Gradients{(Var(dy) * Var(g)).value(),
                                       (sum_to(Var(dy) * Var(xv), {4}) * 0.5).value()};
                    });
    };
  };
  const std::string what = complaint({"half", make, {2, 4}, {2, 4}});
  EXPECT_NE(what.find("input 1"), std::string::npos) << what;
  EXPECT_NE(what.find("gamma"), std::string::npos) << what;
}

TEST(Conformance, FindsStateThatIsNotSaved) {
  // Draws a number at construction that is no parameter.
  const auto make = [](const Scope& s) {
    const double hidden = static_cast<double>(
        s.param("a", {1}, normal(1)).var().value().to(DType::f64).data<double>()[0]);
    return [layer = Scaled(s / "b"), hidden, a = s.params().find("a")](const Var& x) {
      return layer(x) * hidden + sum(a->var);
    };
  };
  EXPECT_NE(complaint({"hidden", make, {2, 4}, {2, 4}}).find("saved and loaded"),
            std::string::npos);
}

TEST(Conformance, FindsWhatIsNotDeterministic) {
  int calls = 0;
  const auto make = [&](const Scope& s) {
    return [layer = Scaled(s), &calls](const Var& x) { return layer(x) + 1e-3 * ++calls; };
  };
  EXPECT_NE(complaint({"counter", make, {2, 4}, {2, 4}}).find("not the same bits"),
            std::string::npos);
}

// ---- parameters

TEST(Params, NamesAreUniqueAndScoped) {
  Params params(0);
  const Scope s = Scope(params) / "a" / 0;
  s.param("w", {2}, ones());
  EXPECT_NE(params.find("a.0.w"), nullptr);
  EXPECT_THROW(s.param("w", {2}, ones()), Error);
}

TEST(Params, FlatViewsAreTheParametersThemselves) {
  Params params(0);
  const Linear layer(params, 2, 3);
  EXPECT_EQ(params.flat_values().size(), 9);
  Tensor flat = params.flat_values();
  flat.data<float>()[6] = 42;  // bias[0]
  EXPECT_EQ(layer.bias.var().value().data<float>()[0], 42);
  EXPECT_THROW(Scope(params).param("late", {1}, ones()), Error);
}

// Joined parameters lie side by side, and theirs is the gradient of the whole; until then, and for a check that binds
// others in their place, they are copied.
TEST(Params, JoinedPartsAreOne) {
  Params params(1);
  const Linear first(Scope(params) / "first", 2, 3), between(Scope(params) / "between", 1, 1),
      second(Scope(params) / "second", 2, 1);
  const JoinedLinear both(params, std::array{&first, &second});
  const Tensor x = Rng(1, Purpose::test).normal({5, 2});
  const Tensor y = linear(x, both.weight, both.bias).value();
  EXPECT_EQ(max_difference(y, concat(first(x), second(x)).value()), 0);

  params.zero_grad();
  EXPECT_EQ(Var(both.weight).value().address(), first.weight.var().value().address());
  EXPECT_EQ(params.in_order(params.flat_values()).data<float>()[9],
            between.weight.var().value().item());
  EXPECT_EQ(max_difference(linear(x, both.weight, both.bias).value(), y), 0);
  const Vars parts = both(x);
  EXPECT_EQ(max_difference(parts[1].value(), second(x).value()), 0);
  sum(square(parts[1])).backward();
  const Tensor alone = second.weight.var().grad().clone();
  params.zero_grad();
  sum(square(second(x))).backward();
  EXPECT_EQ(max_difference(alone, second.weight.var().grad()), 0);
  for (const float g : first.weight.var().grad().values<float>()) EXPECT_EQ(g, 0);

  const Var other(Tensor::full({1, 2}, 1.0), true);
  params.bind(4, other);  // second.weight
  EXPECT_EQ(max_difference(both(x)[1].value(), linear(x, other, second.bias).value()), 0);
}

void expect_error(const std::string& text, const std::function<void()>& f) {
  try {
    f();
    ADD_FAILURE() << "expected: " << text;
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), text);
  }
}

TEST(Params, JoinsThatCannotBe) {
  Params params(0);
  const Linear a(Scope(params) / "a", 2, 3), b(Scope(params) / "b", 2, 3),
      wide(Scope(params) / "wide", 4, 3), exact(Scope(params).exact() / "exact", 2, 3);
  const auto join = [&](std::vector<Param> parts) { params.join(parts); };
  expect_error("[params] nothing to join", [&] { join({}); });
  expect_error("[params] wide.weight has shape [3, 4], expected [3, 2]", [&] {
    join({a.weight, wide.weight});
  });
  expect_error("[params] 'exact.weight' cannot be joined with 'a.weight': it is used otherwise",
               [&] {
                 join({a.weight, exact.weight});
               });
  join({a.weight, b.weight});
  expect_error("[params] 'b.weight' cannot be joined with 'b.weight': it is joined already", [&] {
    join({b.weight, a.weight});
  });
  params.flat_values();
  expect_error("[params] 'a.bias' comes too late: the parameters are laid out already", [&] {
    join({a.bias, b.bias});
  });
  Params others(0);
  expect_error("[params] a parameter of others cannot be joined",
               [&] { others.join(std::array{a.bias}); });
}

// A penalty on one of them would share the place of what arrives for all.
TEST(Params, APartIsNotReadAloneBesideItsJoin) {
  Params params(0);
  const Linear a(Scope(params) / "a", 2, 3), b(Scope(params) / "b", 2, 3);
  const JoinedLinear both(Scope(params), std::array{&a, &b});
  params.zero_grad();
  const Var x(Tensor::full({1, 2}, 1.0));
  const auto loss = [&] {
    const Vars y = both(x);
    return sum(square(y[0])) + sum(square(y[1]));
  };
  (loss() + sum(square(b.weight))).backward();
  expect_error(
      "[params] 'b.weight' was used alone and joined with others in one step: expected either",
      [&] { params.flat_grads(); });
  params.zero_grad();
  sum(square(b.weight)).backward();
  params.flat_grads();
  params.zero_grad();
  loss().backward();
  params.flat_grads();
}

// Files keep the order in which parameters were made, wherever they lie.
TEST(Params, InOrderAndBack) {
  Params params(3);
  const Linear first(Scope(params) / "first", 2, 3), second(Scope(params) / "second", 2, 1);
  const JoinedLinear both(params, std::array{&first, &second});
  const Tensor flat = params.flat_values().clone(), ordered = params.in_order(flat);
  std::int64_t at = 0;
  for (const Params::Entry& e : params.entries()) {
    EXPECT_EQ(
        max_difference(ordered.slice(at, at + e.value.size()), e.value.reshape({e.value.size()})),
        0);
    at += e.value.size();
  }
  EXPECT_GT(max_difference(ordered, flat), 0);
  Tensor back = Tensor::zeros(flat.shape());
  params.from_order(ordered, back);
  EXPECT_EQ(max_difference(back, flat), 0);
}

TEST(Params, TheLimitIsKept) {
  Params params(0, DType::f32, 10);
  EXPECT_THROW(Linear(params, 3, 4), Error);
}

// ---- sinusoidal features, against the formula in long double

TEST(SinusoidalEmbedding, FollowsItsFormula) {
  const Tensor t = Tensor::from<std::int64_t>({3}, {0, 7, 999});
  for (bool flip : {false, true})
    for (double shift : {0.0, 1.0}) {
      const Tensor e = sinusoidal_embedding(t, 9, flip, shift);
      for (int i = 0; i < 3; ++i)
        for (int k = 0; k < 4; ++k) {
          const double angle =
              static_cast<double>(t.data<std::int64_t>()[i]) * std::pow(10000.0, -k / (4 - shift));
          EXPECT_NEAR(e.data<float>()[i * 9 + (flip ? 4 + k : k)], std::sin(angle), 1e-4);
          EXPECT_NEAR(e.data<float>()[i * 9 + (flip ? k : 4 + k)], std::cos(angle), 1e-4);
          EXPECT_EQ(e.data<float>()[i * 9 + 8], 0);
        }
    }
}

}  // namespace
}  // namespace sfumato::nn
