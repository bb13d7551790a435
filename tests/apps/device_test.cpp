// --device, which every subcommand has.
#include <fmt/format.h>

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

}  // namespace
}  // namespace sfumato::apps
