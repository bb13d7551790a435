// --device, which every subcommand has, and --precision.
#include <fmt/format.h>

#include "tensor/io/json.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

class DeviceOption : public AppTest {
 protected:
  // Whether this build and machine have a GPU, emulated or real.
  bool has_gpu() const { return run("info --device cuda").code == 0; }
};

TEST_F(DeviceOption, WithoutAGpuOneLineSaysWhyAndNothingIsWritten) {
  if (has_gpu()) GTEST_SKIP() << "there is a GPU";
  put_digits("data");
  for (const char* line :
       {"train --data data --out run --steps 1", "info", "sample --model run --out x.png",
        "evaluate --model run", "predict --model run --in x --out y"})
    refused(fmt::format("{} --device cuda", line), {"[cuda]"});
  EXPECT_FALSE(fs::exists(at("run")));
  EXPECT_FALSE(fs::exists(at("x.png")));
}

TEST_F(DeviceOption, AutoTakesTheCpuAndSaysSo) {
  if (has_gpu()) GTEST_SKIP() << "there is a GPU";
  const Outcome o = run("info --json --device auto");
  EXPECT_EQ(o.code, 0);
  EXPECT_NE(o.out.find("\"device\": \"cpu\""), std::string::npos) << o.out;
  EXPECT_NE(o.err.find("the CPU computes"), std::string::npos) << o.err;
}

TEST_F(DeviceOption, ExpectsADevice) {
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:1000", "cpu:0"})
    refused(fmt::format("info --device {}", name), {"expected cpu, cuda, cuda:N or auto", name}, 2);
}

class PrecisionOption : public DeviceOption {
 protected:
  io::JsonObject options() const {
    return io::JsonObject::read(at("run/sfumato/run.json")).get_object("options");
  }
};

TEST_F(PrecisionOption, TheCpuRefusesWhatItDoesNotComputeIn) {
  put_run();
  EXPECT_EQ(options().get_string("precision"), "f32");
  const std::string in =
      (fs::path(SFUMATO_SOURCE_DIR) / "tests" / "golden" / "single_block" / "in.safetensors")
          .string();
  for (const char* precision : {"tf32", "bf16"}) {
    const std::string asked = fmt::format(" --precision {}", precision);
    const std::string why = asked.substr(1) + " needs --device cuda";
    for (const std::string& line :
         {std::string("train --data data --out new --steps 1"), std::string("train --resume run"),
          std::string("sample --model run --out x.png"),
          std::string("evaluate --model run --data data"),
          "predict --model run --out y.safetensors --in " + in})
      refused(line + asked, {why});
  }
  EXPECT_EQ(options().get_string("precision"), "f32");
  for (const char* file : {"new", "x.png", "y.safetensors"}) EXPECT_FALSE(fs::exists(at(file)));
  refused("train --out new --precision f16", {"expected one of f32, tf32, bf16", "f16"}, 2);
}

TEST_F(PrecisionOption, ARunKeepsIt) {
  if (!has_gpu()) GTEST_SKIP() << "there is no GPU";
  put_digits("data");
  const std::string gpu = " --device cuda";
  done(
      "train --out run --data data --model tiny --batch 4 --steps 5 --stop-after 1 --sample-every "
      "0 "
      "--precision bf16" +
      gpu);
  EXPECT_EQ(options().get_string("precision"), "bf16");
  EXPECT_EQ(io::SafeTensors(at("run/sfumato/state.safetensors")).entry("weights").dtype, "F32");
  refused("train --resume run", {"--precision bf16 needs --device cuda"});
  done("train --resume run --stop-after 1" + gpu);
  EXPECT_EQ(options().get_string("precision"), "bf16");
  const Outcome changed = run("train --resume run --stop-after 1 --precision f32");  // on the CPU
  EXPECT_EQ(changed.code, 0) << changed.err;
  EXPECT_NE(changed.err.find(R"(precision: "bf16" -> "f32")"), std::string::npos) << changed.err;
  EXPECT_EQ(options().get_string("precision"), "f32");
  done("sample --model run --out x.png --count 2 --steps 1 --precision bf16" + gpu);
  EXPECT_TRUE(fs::exists(at("x.png")));
}

}  // namespace
}  // namespace sfumato::apps
