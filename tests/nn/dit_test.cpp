// The diffusion transformer where neither gradients (layers_test.cpp) nor diffusers (golden_test.cpp) say enough: its
// positions against the formula, how it begins, and what it refuses.
#include "nn/dit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "nn/presets.h"
#include "tests/devices.h"
#include "tests/nn/small_dit.h"

namespace sfumato::nn {
namespace {

std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(DiT, PositionsAreSinesAndCosinesOfColumnAndRow) {
  const std::int64_t h = 3, w = 5, channels = 12, quarter = channels / 4;
  for (const Device device : devices()) {
    const Tensor p =
        sincos_positions({.height = h, .width = w, .base = 4}, channels, {DType::f64, device})
            .to(Device::cpu);
    ASSERT_EQ(p.shape(), (Shape{h * w, channels}));
    for (std::int64_t i = 0; i < h; ++i)
      for (std::int64_t j = 0; j < w; ++j)
        for (std::int64_t k = 0; k < quarter; ++k) {
          const double omega = std::pow(10000.0, -static_cast<double>(k) / quarter);
          const double column = 4.0 * static_cast<double>(j) / w,
                       row = 4.0 * static_cast<double>(i) / h;
          const double* at = p.data<double>() + (i * w + j) * channels + k;
          EXPECT_NEAR(at[0], std::sin(column * omega), 1e-6);
          EXPECT_NEAR(at[quarter], std::cos(column * omega), 1e-6);
          EXPECT_NEAR(at[2 * quarter], std::sin(row * omega), 1e-6);
          EXPECT_NEAR(at[3 * quarter], std::cos(row * omega), 1e-6);
        }
  }
}

// adaLN-Zero: whatever a new network sees, it says 0, and only its last layer has a gradient at first.
TEST(DiT, ANewOneSaysNothing) {
  Params params(1);
  const DiT net(Scope(params), small_dit());
  params.zero_grad();
  const Tensor t = Tensor::from<std::int64_t>({2}, {3, 700});
  const Tensor labels = Tensor::from<std::int64_t>({2}, {0, 3});
  const Var y = net(Rng(1).normal({2, 8, 8, 1}), t, labels);
  for (const float v : y.value().values<float>()) EXPECT_EQ(v, 0);
  mse(y, Rng(2).normal({2, 8, 8, 1})).backward();
  for (const Params::Entry& p : params.entries()) {
    double largest = 0;
    for (const float g : p.var.grad().values<float>())
      largest = std::max(largest, std::abs(static_cast<double>(g)));
    EXPECT_EQ(largest > 0, p.name.starts_with("proj_out_2.")) << p.name;
  }
}

TEST(DiT, RecomputingGivesTheSameBits) {
  const auto gradients = [](bool recompute) {
    Params params(1);
    const DiT net(Scope(params), small_dit());
    Tensor(params.flat_values()).copy_from(Rng(3).normal(params.flat_values().shape()));
    params.zero_grad();
    const Tensor t = Tensor::from<std::int64_t>({2}, {3, 700});
    const Tensor labels = Tensor::from<std::int64_t>({2}, {0, 3});
    mean(square(net(Rng(1).normal({2, 8, 8, 1}), t, labels, {.recompute = recompute}))).backward();
    return params.flat_grads();
  };
  const Tensor kept = gradients(false), again = gradients(true);
  for (std::int64_t i = 0; i < kept.size(); ++i)
    ASSERT_EQ(kept.data<float>()[i], again.data<float>()[i]) << i;
}

TEST(DiT, TheRowAfterTheClassesMeansNoClass) {
  Params params(1), others(1);
  const DiT net(Scope(params), small_dit());
  EXPECT_EQ(net.conditioning.classes(), 3);
  EXPECT_EQ(net.conditioning.null_label, 3);
  DiTConfig config = small_dit();
  config.num_embeds_ada_norm = 0;
  const DiT unconditional(Scope(others), config);
  EXPECT_EQ(unconditional.conditioning.kind, Conditioning::Kind::none);
  const Tensor t = Tensor::from<std::int64_t>({1}, {3});
  EXPECT_EQ(unconditional(Rng(1).normal({1, 8, 8, 1}), t).shape(), (Shape{1, 8, 8, 1}));
}

TEST(DiT, RefusesWhatItDoesNotCompute) {
  const auto read = [](const char* key, const io::Json& value) {
    io::Json json = to_json(small_dit());
    json[key] = value;
    return refusal([&] { parse_dit_config(io::JsonObject(json, "config.json")); });
  };
  EXPECT_NE(read("norm_type", "ada_norm").find("norm_type: \"ada_norm\" is not supported"),
            std::string::npos);
  EXPECT_NE(read("attention_bias", false).find("attention_bias: \"false\""), std::string::npos);
  EXPECT_NE(read("activation_fn", "geglu").find("gelu, gelu-approximate"), std::string::npos);
  EXPECT_NE(read("attention_head_dim", 3).find("multiple of 4"), std::string::npos);
  EXPECT_NE(read("sample_size", 1).find("at least the patch_size 2, got 1"), std::string::npos);
  EXPECT_NE(read("num_layers", 0).find("num_layers: expected 1..1024, got 0"), std::string::npos);
  EXPECT_NE(read("dropout", 1).find("dropout: expected 0 <= p < 1"), std::string::npos);

  Params params(1);
  const DiT net(Scope(params), small_dit());
  const Tensor t = Tensor::from<std::int64_t>({1}, {3}), label = Tensor::zeros({1}, DType::i64);
  const auto run = [&](const Shape& shape) {
    return refusal([&] { net(Rng(1).normal(shape), t, label); });
  };
  EXPECT_NE(run({1, 8, 6, 1}).find("8x6, this network needs squares"), std::string::npos);
  EXPECT_NE(run({1, 7, 7, 1}).find("7x7, this network needs multiples of 2"), std::string::npos);
  EXPECT_NE(run({1, 8, 8, 2}).find("has 2 channels, expected 1"), std::string::npos);
}

TEST(Presets, OfBothKinds) {
  for (const char* name : {"tiny", "small", "base", "dit-tiny", "dit", "dit-base"}) {
    EXPECT_TRUE(is_preset(name)) << name;
    EXPECT_NE(preset_names().find(name), std::string::npos);
    Params params(1);
    const auto net = build_preset(
        name,
        {.channels = 1, .size = 28, .classes = 10, .hides_labels = true, .dropout = 0.25})(params);
    EXPECT_EQ(net->conditioning.rows, 11) << name;
    EXPECT_EQ(net->conditioning.null_label, 10) << name;
    EXPECT_EQ(net->config().at("dropout").get<double>(), 0.25) << name;
  }
  EXPECT_FALSE(is_preset("huge"));
  EXPECT_NE(refusal([] { preset("dit", 1); }).find("expected tiny, small, base, got"),
            std::string::npos);
  EXPECT_NE(
      refusal([] { dit_preset("tiny", 1, 28); }).find("expected dit-tiny, dit, dit-base, got"),
      std::string::npos);
}

}  // namespace
}  // namespace sfumato::nn
