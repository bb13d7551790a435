// The layers of nn/classic_layers.h against PyTorch's (tests/golden/make_layers.py), through the conformance kit
// (layers_test.cpp has their rows), and batch normalisation's running statistics through a file.
#include "nn/classic_layers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "nn/checkpoint.h"
#include "tensor/io/safetensors.h"
#include "tests/devices.h"
#include "tests/norms.h"
#include "tests/temporary_folder.h"

namespace sfumato::nn {
namespace {

namespace fs = std::filesystem;
using AnyLayer = std::function<Var(const Var&)>;

const io::SafeTensors& golden() {
  static const io::SafeTensors file(fs::path(SFUMATO_SOURCE_DIR) /
                                    "tests/golden/layers.safetensors");
  return file;
}

struct ClassicCase {
  std::string name;
  std::function<AnyLayer(const Scope&)> make;
};

const ClassicCase kClassic[] = {
    {"rms_norm", [](const Scope& s) { return RMSNorm(s, 5, 1e-6); }},
    {"layer_norm", [](const Scope& s) { return LayerNorm(s, 5, 1e-5, false); }},
    {"avg_pool", [](const Scope&) { return AvgPool2d(3); }},
    {"avg_pool_strided", [](const Scope&) { return AvgPool2d(3, 2); }},
    {"max_pool", [](const Scope&) { return MaxPool2d(2); }},
    {"max_pool_strided", [](const Scope&) { return MaxPool2d(3, 1); }},
    {"conv_transpose",
     [](const Scope& s) {
       return ConvTranspose2d(s, 3, 4, 3, {.stride = 2, .padding = 1, .output_padding = 1});
     }},
    {"conv_transpose_plain", [](const Scope& s) { return ConvTranspose2d(s, 3, 2, 2); }},
    {"batch_norm",
     [](const Scope& s) {
       const BatchNorm2d norm(s, 3);
       return AnyLayer([norm](const Var& x) { return norm(x, {.training = true}); });
     }},
};

// The parameters become those of the file.
void take(Params& params, const std::string& name) {
  for (const Params::Entry& p : params.entries()) {
    Tensor value = p.value;
    value.copy_from(golden().tensor(name + ".p." + p.name));
  }
}

void expect_near(const Tensor& got, const Tensor& want, const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  EXPECT_LE(distance(got.to(Device::cpu), want), 2e-6 * norm(want)) << what;
}

TEST(ClassicLayers, ValuesAndGradientsArePyTorchs) {
  for (const Device device : devices())
    for (const ClassicCase& c : kClassic) {
      Params params(1);
      const AnyLayer layer = c.make(Scope(params));
      take(params, c.name);
      params.to(device);
      params.zero_grad();
      const Var x(golden().tensor(c.name + ".x").to(device), true);
      const Var y = layer(x);
      expect_near(y.value(), golden().tensor(c.name + ".y"), c.name + " y");
      y.backward(golden().tensor(c.name + ".dy").to(device));
      expect_near(x.grad(), golden().tensor(c.name + ".dx"), c.name + " dx");
      for (const Params::Entry& p : params.entries())
        expect_near(p.var.grad(), golden().tensor(c.name + ".grad." + p.name), c.name + p.name);
    }
}

TEST(ClassicLayers, RunningStatisticsArePyTorchsAndSurviveAFile) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "batch_norm.safetensors";
  for (const Device device : devices()) {
    Params params(1), others(2);
    const BatchNorm2d norm(Scope(params), 3), loaded(Scope(others), 3);
    take(params, "batch_norm");
    params.to(device);
    norm(golden().tensor("batch_norm.x0").to(device), {.training = true});
    norm(golden().tensor("batch_norm.x").to(device), {.training = true});
    expect_near(norm.running_mean.value(), golden().tensor("batch_norm.buffer.running_mean"),
                "mean");
    expect_near(norm.running_var.value(), golden().tensor("batch_norm.buffer.running_var"), "var");
    EXPECT_EQ(norm.num_batches_tracked.value().to(Device::cpu).item(), 2);

    save_parameters(params, params.flat_values(), file);
    EXPECT_EQ(io::SafeTensors(file).names().size(), 5u);
    load_parameters(others, io::SafeTensors(file));
    others.to(device);
    const Var y = loaded(golden().tensor("batch_norm.x").to(device), {});
    expect_near(y.value(), golden().tensor("batch_norm.eval"), "evaluated");
    EXPECT_EQ(loaded.num_batches_tracked.value().to(Device::cpu).item(), 2);
  }
}

// A checkpoint of something else leaves the statistics alone.
TEST(ClassicLayers, BuffersAreExpectedInAFile) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "buffers.safetensors";
  Params params(1), group(1);
  const BatchNorm2d norm(Scope(params), 3);
  const GroupNorm other(Scope(group), 3, 1, 1e-5);
  save_parameters(group, group.flat_values(), file);
  const auto message = [](const std::function<void()>& f) -> std::string {
    try {
      f();
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_NE(message([&] {
              load_parameters(params, io::SafeTensors(file));
            }).find("parameter \"running_mean\" is missing"),
            std::string::npos);
  save_parameters(params, params.flat_values(), file);
  EXPECT_NE(message([&] {
              load_parameters(group, io::SafeTensors(file));
            }).find("\"num_batches_tracked\" is not a parameter"),
            std::string::npos);
  EXPECT_NE(message([&] { BatchNorm2d(Scope(params), 3); }).find("too late"), std::string::npos);
  EXPECT_NE(message([&] {
              norm(Tensor::zeros({1, 1, 1, 3}), {.training = true});
            }).find("more than one pixel"),
            std::string::npos);
}

TEST(ClassicLayers, OperationsRefuseWhatDoesNotFit) {
  const Var x(Tensor::zeros({1, 4, 5, 2})), w(Tensor::zeros({2, 3, 2, 2}));
  EXPECT_THROW(avg_pool2d(x, 5, 1), Error);
  EXPECT_THROW(max_pool2d(x, 2, 0), Error);
  EXPECT_THROW(conv_transpose2d(x, w, {}, {.stride = 2, .output_padding = 2}), Error);
  EXPECT_THROW(conv_transpose2d(x, w, {}, {.padding = 9}), Error);
  EXPECT_THROW(conv_transpose2d(x, Tensor::zeros({3, 2, 2, 2}), {}, {}), Error);
}

// PyTorch's rule: a NaN is the largest number.
TEST(ClassicLayers, MaxPoolKeepsNan) {
  Tensor x = Tensor::zeros({1, 2, 2, 1});
  x.data<float>()[2] = std::nanf("");
  EXPECT_TRUE(std::isnan(max_pool2d(Var(x), 2, 2).value().item()));
}

}  // namespace
}  // namespace sfumato::nn
