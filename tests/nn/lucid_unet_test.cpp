// The U-Net of denoising-diffusion-pytorch where neither gradients (layers_test.cpp) nor the package's answers
// (golden_test.cpp) say enough: what its files tell, and what is refused.
#include "nn/lucid_unet.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "nn/lucid_checkpoint.h"
#include "tensor/io/safetensors.h"

namespace sfumato::nn {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(SFUMATO_SOURCE_DIR) / "tests" / "golden";
constexpr const char* kWeights = "diffusion_pytorch_model.safetensors";
const char* const kNets[] = {"lucid_2_0", "lucid_full", "lucid_1_9",
                             "lucid_1_8", "lucid_1_7",  "lucid_1_0"};

io::JsonObject config_of(const std::string& name) {
  return io::JsonObject::read(kGolden / name / "unet" / "config.json");
}

std::string refusal_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(LucidUnet, ShapesTellItsConfiguration) {
  for (const char* name : kNets) {
    const LucidUnetConfig want = parse_lucid_unet_config(config_of(name));
    const io::SafeTensors file(kGolden / name / "unet" / kWeights);
    std::vector<std::string> notes;
    EXPECT_EQ(find_lucid_prefix(file, notes), "");
    LucidChoices choices{.heads = want.heads(0), .groups = want.resnet_block_groups};
    if (want.version.wraps_attention) choices.version = want.version;
    LucidUnetConfig got = lucid_config_of(file, "", choices);
    EXPECT_EQ(io::Json(to_json(got)), io::Json(to_json(want))) << name;
    EXPECT_TRUE(notes.empty());
  }
}

TEST(LucidUnet, ReleasesOfTheSameNamesAreAskedFor) {
  const io::SafeTensors file(kGolden / "lucid_1_0" / "unet" / kWeights);
  EXPECT_NE(refusal_of([&] {
              lucid_config_of(file, "");
            }).find("do not tell releases from 1.7 or 1.0 on apart: give --package-version"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] {
              lucid_config_of(file, "", {.version = *find_lucid_version("2.0")});
            }).find("its names are not those of version 2.0"),
            std::string::npos);
}

TEST(LucidUnet, RecomputingGivesTheSameBits) {
  const auto gradients = [](bool recompute) {
    Params params(1);
    const auto net = read_lucid_unet(config_of("lucid_2_0"), nullptr)(params);
    params.flat_values();
    params.zero_grad();
    const Tensor t = Tensor::from<std::int64_t>({2}, {3, 700});
    mean(sfumato::square((*net)(Rng(1).normal({2, 8, 8, 1}), t, {}, {.recompute = recompute})))
        .backward();
    return params.flat_grads();
  };
  const Tensor kept = gradients(false), again = gradients(true);
  for (std::int64_t i = 0; i < kept.size(); ++i)
    ASSERT_EQ(kept.data<float>()[i], again.data<float>()[i]) << i;
}

TEST(LucidUnet, RefusesWhatItDoesNotCompute) {
  const auto read = [](const char* key, const io::Json& value) {
    io::Json json = config_of("lucid_1_9").json();
    json[key] = value;
    return refusal_of([&] { parse_lucid_unet_config(io::JsonObject(json, "config.json")); });
  };
  EXPECT_NE(read("self_condition", true).find("[config.json] self_condition: \"true\""),
            std::string::npos);
  EXPECT_NE(read("random_fourier_features", true).find("random_fourier_features"),
            std::string::npos);
  EXPECT_NE(read("sinusoidal_pos_emb_theta", 500).find("\"500\" is not supported"),
            std::string::npos);
  EXPECT_NE(read("package_version", "0.9").find("supported: 2.0, 1.9, 1.8, 1.7, 1.0"),
            std::string::npos);
  EXPECT_NE(read("attn_heads", {1, 2, 3}).find("one for each of 2 levels, got 3"),
            std::string::npos);
  EXPECT_NE(read("full_attn", "yes").find("full_attn: expected true, false"), std::string::npos);
  EXPECT_NE(read("resnet_block_groups", 3).find("4 channels are not divisible"), std::string::npos);
  EXPECT_NE(read("dim", 5).find("an even number, got 5"), std::string::npos);
  EXPECT_NE(read("dim_mults", io::Json::array()).find("1..12 levels, got 0"), std::string::npos);

  Params params(1);
  const auto net = read_lucid_unet(config_of("lucid_2_0"), nullptr)(params);
  const auto run = [&](const Shape& shape) {
    return refusal_of([&] { (*net)(Rng(1).normal(shape), Tensor::zeros({1}, DType::i64)); });
  };
  EXPECT_NE(run({1, 7, 8, 1}).find("7x8, this network needs multiples of 2"), std::string::npos);
  EXPECT_NE(run({1, 8, 8, 2}).find("has 2 channels, expected 1"), std::string::npos);
}

class LucidFile : public ::testing::Test {
 protected:
  // What reading the network says when the tensors of lucid_2_0 are changed so.
  std::string with(const std::vector<std::pair<std::string, Shape>>& added) const {
    const io::SafeTensors file(kGolden / "lucid_2_0" / "unet" / kWeights);
    std::vector<std::pair<std::string, Tensor>> tensors;
    for (const std::string& name : file.names()) {
      bool replaced = false;
      for (const auto& [other, shape] : added) replaced |= other == name;
      if (!replaced) tensors.emplace_back(name, file.tensor(name));
    }
    for (const auto& [name, shape] : added) tensors.emplace_back(name, Tensor::zeros(shape));
    const fs::path path = fs::path(::testing::TempDir()) / "lucid_file.safetensors";
    io::write_safetensors(path, tensors);
    const std::string what = refusal_of([&] { lucid_config_of(io::SafeTensors(path), ""); });
    fs::remove(path);
    return what;
  }
};

TEST_F(LucidFile, OfAnotherNetworkIsRefusedByName) {
  EXPECT_NE(with({{"null_classes_emb", {4}}}).find("the class-conditional U-Net"),
            std::string::npos);
  EXPECT_NE(with({{"time_mlp.0.weights", {8}}}).find("random_fourier_features"), std::string::npos);
  EXPECT_NE(with({{"downs.0.3.weight", {4, 4, 4, 4}}}).find("releases of denoising-diffusion-"),
            std::string::npos);
  EXPECT_NE(with({{"init_conv.weight", {4, 2, 7, 7}}}).find("self_condition"), std::string::npos);
  EXPECT_NE(with({{"init_conv.weight", {4, 2, 7}}}).find("expected one of 4 axes"),
            std::string::npos);
  EXPECT_NE(with({{"downs.0.3.1.weight", {6, 16, 1, 1}}}).find("expected a multiple of dim 4"),
            std::string::npos);
  EXPECT_EQ(with({}), "accepted");
}

TEST_F(LucidFile, WithSeveralNetworksGivesTheAverage) {
  const io::SafeTensors file(kGolden / "lucid_checkpoint.safetensors");
  std::vector<std::string> notes;
  EXPECT_EQ(find_lucid_prefix(file, notes), "ema.ema_model.model.");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("took the moving average"), std::string::npos);
  const io::SafeTensors other(kGolden / "grey28" / "unet" / kWeights);
  EXPECT_NE(refusal_of([&] {
              find_lucid_prefix(other, notes);
            }).find("holds no \"init_conv.weight\": not a checkpoint of denoising-diffusion"),
            std::string::npos);
}

}  // namespace
}  // namespace sfumato::nn
