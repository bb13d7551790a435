// `sfumato predict` against what diffusers computed.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"
#include "tensor/io/json.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"
#include "tests/norms.h"

namespace sfumato::apps {
namespace {

using Predict = AppTest;

TEST_F(Predict, EqualsDiffusers) {
  int cases = 0;
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    const fs::path& dir = entry.path();
    if (!fs::exists(dir / "out.safetensors")) continue;
    SCOPED_TRACE(dir.filename().string());
    ++cases;
    const std::string predict =
        fmt::format("predict --model {} --in {}/in.safetensors --out ", dir.string(), dir.string());
    const io::SafeTensors expected(dir / "out.safetensors");

    done(predict + "grad.safetensors --grad");
    const io::SafeTensors grad(at("grad.safetensors"));
    EXPECT_EQ(grad.names(), expected.names());
    for (const std::string& name : expected.names()) {
      const Tensor want = expected.tensor(name), got = grad.tensor(name);
      ASSERT_EQ(got.shape(), want.shape()) << name;
      // Sums that cancel are measured against their weight's (tests/nn/golden_test.cpp).
      double scale = norm(want);
      if (name.ends_with(".bias"))
        scale = std::max(scale, norm(expected.tensor(name.substr(0, name.size() - 4) + "weight")));
      EXPECT_LE(distance(got, want), 2e-5 * scale) << name;
    }

    // Without gradients: the sample alone, and the input need not hold a target.
    const io::SafeTensors in(dir / "in.safetensors");
    std::vector<std::pair<std::string, Tensor>> bare;
    for (const std::string& name : in.names())
      if (name != "target") bare.emplace_back(name, in.tensor(name));
    io::write_safetensors(at("bare.safetensors"), bare);
    done(fmt::format("predict --model {} --in bare.safetensors --out y.safetensors", dir.string()));
    const io::SafeTensors y(at("y.safetensors"));
    EXPECT_EQ(y.names(), std::vector<std::string>{"sample"});
    EXPECT_LE(distance(y.tensor("sample"), expected.tensor("sample")),
              2e-5 * norm(expected.tensor("sample")));
  }
  EXPECT_GE(cases, 10);
}

TEST_F(Predict, OneTimestepForAll) {
  const std::string model = kGolden + "/grey28";
  const Tensor x = Tensor::full({2, 1, 28, 28}, 0.5);
  auto predict = [&](const Tensor& t) {
    io::write_safetensors(at("in.safetensors"), {{"sample", x}, {"timestep", t}});
    done("predict --in in.safetensors --out out.safetensors --model " + model);
    return get("out.safetensors");
  };
  const std::string two = predict(Tensor::full({2}, 7, DType::i64));
  EXPECT_EQ(predict(Tensor::full({1}, 7, DType::i64)), two);
  EXPECT_EQ(predict(Tensor::full({}, 7, DType::i64)), two);
  EXPECT_EQ(predict(Tensor::full({2}, 7)), two);
}

// The slowest set of instructions computes the same network.
TEST_F(Predict, GenericInstructionsComputeTheSame) {
  const Setting generic{{{"SFUMATO_ISA", "generic"}}};
  const Outcome o = done("info --json", generic);
  EXPECT_EQ(io::JsonObject(io::parse_json(o.out, "info"), "info").get_string("isa"), "generic");
  const std::string model = kGolden + "/class_labels";
  done(fmt::format("predict --model {0} --in {0}/in.safetensors --out y.safetensors", model),
       generic);
  const Tensor want = io::SafeTensors(kGolden + "/class_labels/out.safetensors").tensor("sample");
  EXPECT_LE(distance(io::SafeTensors(at("y.safetensors")).tensor("sample"), want),
            2e-5 * norm(want));
  put_digits("data");
  done("train --out run --data data --model tiny --batch 8 --steps 9 --stop-after 1", generic);
  // A run may move to another machine.
  EXPECT_EQ(run("train --resume run --stop-after 1").code, 0);
}

}  // namespace
}  // namespace sfumato::apps
