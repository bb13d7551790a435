// Runs that are stopped: politely (Ctrl-C), at any moment (kill -9), by a disk that is full, by
// numbers that are none, and by another run in the same folder. What is on disk stays whole, and
// the run goes on from there.
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>

#include "diffusion/pipeline.h"
#include "tensor/io/checksum.h"
#include "tensor/io/json.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

class Stop : public AppTest {
 protected:
  Stop() { put_digits("data"); }

  // Reads all that a run left; throws Error when any of it is damaged.
  void expect_loadable(const std::string& run) const {
    const diffusion::Pipeline model = diffusion::load_pipeline(at(run));
    for (const nn::Params::Entry& p : model.params->entries())
      for (float v : p.var.value().values<float>()) ASSERT_TRUE(std::isfinite(v)) << p.name;
    const io::SafeTensors state(at(run + "/sfumato/state.safetensors"));
    for (const std::string& name : state.names()) state.tensor(name);
    if (const fs::path previous = at(run + "/sfumato/state.previous.safetensors");
        fs::exists(previous))
      io::verify_checksum(io::SafeTensors(previous));
    io::verify_checksum(state);
  }
  std::int64_t step(const std::string& run) const {
    return static_cast<std::int64_t>(
        io::SafeTensors(at(run + "/sfumato/state.safetensors")).tensor("step").item());
  }
};

TEST_F(Stop, CtrlCLeavesACheckpoint) {
  for (int signal : {SIGINT, SIGTERM}) {
    Process process("train --out run --minutes 100" + kTiny, directory_);
    ASSERT_TRUE(process.says("step 1 "));
    process.send(signal);
    const Outcome o = process.wait();
    EXPECT_EQ(o.code, 0) << o.signal << '\n' << o.err;
    EXPECT_EQ(o.err, "");
    EXPECT_NE(o.out.find("with a checkpoint; go on with\n  sfumato train --resume run\n"),
              std::string::npos)
        << o.out;
    expect_loadable("run");
    const std::int64_t before = step("run");
    EXPECT_GE(before, 1);
    done("train --resume run --stop-after 2");
    EXPECT_EQ(step("run"), before + 2);
    fs::remove_all(at("run"));
  }
}

TEST_F(Stop, OneRunAFolder) {
  Process first("train --out run --minutes 100" + kTiny, directory_);
  ASSERT_TRUE(first.says("step 1 "));
  refused("train --resume run", {"another sfumato process is using run", "pid "});
  refused("train --out run --steps 3" + kTiny, {"another sfumato process is using run"});
  first.send(SIGINT);
  EXPECT_EQ(first.wait().code, 0);
  expect_loadable("run");
  EXPECT_FALSE(fs::exists(at("run/.lock")));
}

// At least 15 processes die at a random moment, each step with a checkpoint; some before their
// first.
TEST_F(Stop, KillNineAtAnyMoment) {
  const std::string fresh = "train --out run --steps 60 --checkpoint-every 0 --dropout 0.1" + kTiny;
  const auto begin = std::chrono::steady_clock::now();
  done("train --out whole --steps 60 --dropout 0.1" + kTiny);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  const int longest = std::max(400, static_cast<int>(took.count() / 2));  // sanitizers are slow
  const Learned whole = learned(at("whole"));

  std::mt19937 random(5);
  int kills = 0, resumed = 0;
  while (kills < 18) {
    const bool recorded = fs::exists(at("run/sfumato/run.json"));
    Process process(recorded ? "train --resume run" : fresh, directory_);
    // Every third in its first moments, where folder and first checkpoint come into being.
    const int wait = kills % 3 == 0 ? 2 + random() % 30 : 5 + random() % (longest - 4);
    std::this_thread::sleep_for(std::chrono::milliseconds(wait));
    process.send(SIGKILL);
    const Outcome o = process.wait();
    ASSERT_TRUE(o.signal == SIGKILL || o.code == 0) << o.command << '\n' << o.err;
    if (o.code == 0) {  // it was faster: anew
      EXPECT_EQ(learned(at("run")), whole);
      fs::remove_all(at("run"));
      continue;
    }
    ++kills;
    resumed += recorded;
    if (fs::exists(at("run/sfumato/state.safetensors"))) {
      ASSERT_NO_THROW(expect_loadable("run")) << "after kill " << kills;
    } else if (fs::exists(at("run/unet/diffusion_pytorch_model.safetensors"))) {
      ASSERT_NO_THROW(diffusion::load_pipeline(at("run"))) << "after kill " << kills;
    }
  }
  EXPECT_GE(resumed, 5);
  done(fs::exists(at("run/sfumato/run.json")) ? "train --resume run" : fresh);
  EXPECT_EQ(learned(at("run")), whole);
  EXPECT_EQ(get("run/samples/final.png"), get("whole/samples/final.png"));
  EXPECT_EQ(temporaries(), std::vector<std::string>());
  EXPECT_EQ(metrics("run").back().get_int("step"), 60);
}

// The moments between the files of a first checkpoint, one by one.
TEST_F(Stop, KilledAmongTheFirstFiles) {
  done("train --out whole --steps 8" + kTiny);
  const Learned whole = learned(at("whole"));
  done("train --out first --steps 8 --stop-after 1" + kTiny);
  const std::string weights = "unet/diffusion_pytorch_model.safetensors";
  EXPECT_GE(fs::last_write_time(at("first/sfumato/state.safetensors")),
            fs::last_write_time(at("first/" + weights)))
      << "a state without a model could be left";
  fs::remove(at("first/sfumato/state.previous.safetensors"));  // a first checkpoint has none
  // In the order of writing, from the last to the first.
  for (std::string file :
       {"metrics.jsonl", "sfumato/state.safetensors", weights.c_str(), "model_index.json",
        "scheduler/scheduler_config.json", "unet/config.json"}) {
    fs::remove(at("first/" + file));
    copy("first", "run");
    done("train --resume run");
    EXPECT_EQ(learned(at("run")), whole) << file;
  }
  fs::remove(at("first/sfumato/run.json"));
  refused("train --resume first", {"first", "holds no training run"});
}

TEST_F(Stop, AFullDiskHurtsNothing) {
  done("train --out whole --steps 8" + kTiny);
  const Learned whole = learned(at("whole"));
  done("train --out start --steps 8 --stop-after 3 --checkpoint-every 0" + kTiny);
  const Learned start = learned(at("start"));

  struct Limit {
    std::uint64_t bytes;
    const char* file;
  };
  // Weights take 0.27 MB, the state 1.07 MB, the metrics some hundred bytes.
  for (const Limit& limit : {Limit{100'000, "diffusion_pytorch_model.safetensors"},
                             Limit{800'000, "state.safetensors"}, Limit{100, "metrics.jsonl"}}) {
    copy("start", "run");
    refused("train --resume run", {"run/", limit.file, "File too large"}, 1, {{}, limit.bytes});
    expect_loadable("run");
    EXPECT_EQ(learned(at("run")).state, start.state) << limit.file;
    EXPECT_EQ(temporaries(), std::vector<std::string>());
    done("train --resume run");
    EXPECT_EQ(learned(at("run")), whole) << limit.file;
  }
  // From the very beginning.
  for (const Limit& limit :
       {Limit{100, "run.json"}, Limit{20'000, "diffusion_pytorch_model.safetensors"}}) {
    fs::remove_all(at("run"));
    const std::string fresh = "train --out run --steps 8" + kTiny;
    refused(fresh, {limit.file, "File too large"}, 1, {{}, limit.bytes});
    done(fs::exists(at("run/sfumato/run.json")) ? "train --resume run" : fresh);
    EXPECT_EQ(learned(at("run")), whole) << limit.file;
  }
}

TEST_F(Stop, AFullDiskKeepsOldPictures) {
  done("train --out run --steps 8 --stop-after 1" + kTiny);
  const std::string golden = SFUMATO_SOURCE_DIR "/tests/golden/grey28";
  const struct {
    std::string command, out;
  } rows[] = {
      {"sample --model run --steps 1 --count 8", "old.png"},
      {"sample --model run --steps 1 --count 8", "old.gif"},
      {"sample --model run --steps 1 --count 8", "old.npy"},
      {"predict --model " + golden + " --in " + golden + "/in.safetensors", "old.safetensors"}};
  for (const auto& row : rows) {
    put(row.out, "old");
    refused(row.command + " --out " + row.out, {row.out, "File too large"}, 1, {{}, 200});
    EXPECT_EQ(get(row.out), "old");
    done(row.command + " --out " + row.out);
    EXPECT_GT(get(row.out).size(), 200u);
  }
  EXPECT_EQ(temporaries(), std::vector<std::string>());
}

TEST_F(Stop, NobodyListens) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full";
  // A result that cannot be shown is an error, a progress line is not.
  const std::string program = SFUMATO_PROGRAM;
  auto shell = [&](const std::string& line) {
    return WEXITSTATUS(
        std::system(fmt::format("cd {} && {} {}", directory_.string(), program, line).c_str()));
  };
  EXPECT_EQ(shell("info > /dev/full 2> err"), 1);
  EXPECT_EQ(get("err"), "sfumato: [stdout] cannot write: No space left on device\n");
  EXPECT_EQ(shell("train --out run --steps 4" + kTiny + " > /dev/full"), 0);
  EXPECT_EQ(step("run"), 4);
}

TEST_F(Stop, AFolderThatCannotBeWritten) {
  if (::getuid() == 0) GTEST_SKIP() << "nothing is forbidden to root";
  fs::create_directories(at("closed"));
  fs::permissions(at("closed"), fs::perms::owner_read | fs::perms::owner_exec);
  refused("train --steps 2 --out closed" + kTiny, {"closed", "Permission denied"});
  refused("train --steps 2 --out closed/run" + kTiny, {"closed/run", "Permission denied"});
  fs::permissions(at("closed"), fs::perms::owner_all);
}

TEST_F(Stop, NotANumber) {
  const std::string diverging = " --steps 500 --lr 1e6 --warmup 0 --clip 1e9 --checkpoint-every 0";
  const Outcome o =
      refused("train --out run" + diverging + kTiny,
              {"step 2: the loss is", "diverged", "checkpoint of step 0 in run is intact",
               "train --resume run --lr 1e+05"});
  expect_loadable("run");
  EXPECT_LT(step("run"), 500);
  refused("train --resume run", {"diverged"});
  expect_loadable("run");
  done("sample --model run --out x.png --count 2 --steps 2");
}

}  // namespace
}  // namespace sfumato::apps
