// `sfumato info`, and where options come from.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"
#include "tensor/io/json.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

using Info = AppTest;

TEST_F(Info, Machine) {
  for (const char* threads : {"1", "3"}) {
    const Outcome o = done(fmt::format("info --json --threads {}", threads));
    const io::JsonObject j(io::parse_json(o.out, "info"), "info");
    for (const char* key : {"version", "compiler", "isa", "cpu", "os"})
      EXPECT_NE(j.get_string(key), "") << key;
    EXPECT_EQ(j.get_int("threads"), std::stoi(threads));
    EXPECT_GE(j.get_int("cores"), 1);
    EXPECT_EQ(j.get_string("device"), "cpu");
    const std::vector<std::string> isas = j.get_strings("isas");
    EXPECT_NE(std::find(isas.begin(), isas.end(), j.get_string("isa")), isas.end());
    EXPECT_NE(std::find(isas.begin(), isas.end(), "generic"), isas.end());
    const Outcome text = done("info");
    EXPECT_TRUE(text.out.starts_with("sfumato " + j.get_string("version")));
    EXPECT_EQ(done("--version").out, "sfumato " + j.get_string("version") + "\n");
  }
}

// Every parameter stands in one row of the table, and the total is the network's.
TEST_F(Info, ModelTable) {
  put_run();
  std::vector<fs::path> models{at("run")};
  for (const char* name : {"grey28", "class_labels", "class_timestep", "class_identity", "legacy",
                           "scale_shift", "nonsquare"})
    models.push_back(fs::path(kGolden) / name);
  for (const fs::path& model : models) {
    SCOPED_TRACE(model.string());
    const std::int64_t count = diffusion::load_pipeline(model).params->count();
    const Outcome o = done("info --json --model " + model.string());
    const io::JsonObject j(io::parse_json(o.out, "info"), "info");
    EXPECT_EQ(j.get_int("parameters"), count);
    std::int64_t sum = 0;
    double flop = 0;
    for (const auto& layer : j.json().at("layers")) {
      sum += layer.at("parameters").get<std::int64_t>();
      flop += layer.at("flop").get<double>();
    }
    EXPECT_EQ(sum, count);
    EXPECT_DOUBLE_EQ(flop, j.get_number("flop"));
    EXPECT_GT(flop, 0);
    const Outcome text = done("info --model " + model.string());
    EXPECT_NE(text.out.find("conv_out"), std::string::npos);
    EXPECT_NE(text.out.find(fmt::format(" {} ", count)), std::string::npos) << text.out;
  }
  // The last layer by hand: 12 x 12 pixels, 8 channels of 9 weights, 2 operations each.
  const Outcome o = done("info --json --model run");
  const io::Json last = io::parse_json(o.out, "info").at("layers").back();
  EXPECT_EQ(last.at("layer"), "conv_out");
  EXPECT_EQ(last.at("flop"), 12 * 12 * 8 * 9 * 2);
}

// ---- where options come from

using Options = AppTest;

TEST_F(Options, Help) {
  for (const char* line :
       {"--help", "train --help", "sample --help", "predict --help", "evaluate --help", "info -h"})
    EXPECT_NE(done(line).out.find("Usage: sfumato"), std::string::npos) << line;
}

TEST_F(Options, ConfigFile) {
  put_digits("data");
  put("train.conf",
      "# the same as on the command line\nsteps = 9\nmodel = \"tiny\"\nbatch = 8\ndata = data\n"
      "seed = 5\npad = false\nstop-after = 3\nlr = 1e-3\n");
  done("train --config train.conf --out a");
  done(
      "train --out b --steps 9 --model tiny --batch 8 --data data --seed 5 --stop-after 3 --lr "
      "1e-3");
  EXPECT_EQ(learned(at("a")), learned(at("b")));
  // The command line goes first.
  done("train --config train.conf --out c --seed 6 --stop-after 4");
  const auto record = io::JsonObject::read(at("c/sfumato/run.json")).get_object("options");
  EXPECT_EQ(record.get_int("seed"), 6);
  EXPECT_EQ(record.get_int("steps"), 9);
  EXPECT_EQ(metrics("c").back().get_int("step"), 4);
  // What is required may stand there as well.
  put("sample.conf", "model = a\nout = x.png\nlabels = 0,1\ncount = 2\nsteps = 1\n");
  done("sample --config sample.conf");
  EXPECT_TRUE(fs::exists(at("x.png")));

  const std::string train = "train --out x --config ";
  put("typo.conf", "stpes = 3\n");
  refused(train + "typo.conf", {"typo.conf", "stpes", "not an option of train"}, 2);
  put("value.conf", "steps = few\n");
  refused(train + "value.conf", {"--steps", "few"}, 2);
  put("empty.conf", "data =\n");
  refused(train + "empty.conf", {"--data: expected a value"}, 2);
  put("flag.conf", "pad = perhaps\n");
  refused(train + "flag.conf", {"pad", "perhaps"}, 2);
  put("both.conf", "steps = 3\nminutes = 3\n");
  refused(train + "both.conf", {"excludes"}, 2);
  put("section.conf", "[train]\nsteps = 3\n");
  refused(train + "section.conf", {"section.conf", "name = value"}, 2);
  put("nested.conf", "config = \"train.conf\"\n");
  refused(train + "nested.conf", {"config", "not an option"}, 2);
  put("garbage.conf", std::string("\x00\x01\xff\xfe[\n=\n", 8));
  refused(train + "garbage.conf", {}, 2);
  refused(train + "nowhere.conf", {"--config", "nowhere.conf"}, 2);
  refused(train + ".", {"--config"}, 2);
  put("long.conf", "steps = 3\n" + std::string(200'000, 'a') + " = 1\n");
  refused(train + "long.conf", {"long.conf: line 2", "name = value"}, 2);
  std::string dots = "a";
  for (int i = 0; i < 200'000; ++i) dots += ".a";
  put("dots.conf", dots + " = 1\n");
  refused(train + "dots.conf", {"dots.conf: line 1"}, 2);
  put("large.conf", std::string((1 << 20) + 1, '#'));
  refused(train + "large.conf", {"large.conf", "at most 1048576 bytes"});
  // A file that opens and cannot be read.
  if (fs::exists("/proc/self/mem")) refused(train + "/proc/self/mem", {"mem", "cannot read"});
  EXPECT_FALSE(fs::exists(at("x")));
}

}  // namespace
}  // namespace sfumato::apps
