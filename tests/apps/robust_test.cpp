// Surroundings that a program does not choose: closed, full and abandoned streams, limits on
// threads and memory, signals at bad moments, folders that are moved, and folders from strangers.
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tensor/io/image.h"
#include "tensor/io/npy.h"
#include "tensor/io/safetensors.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

using namespace std::chrono_literals;

class Robust : public AppTest {
 protected:
  // The exit code of `line` in a shell, where {} stands for the program; 128 + n after signal n.
  int shell(const std::string& line) const {
    std::string program = line;
    for (std::size_t at; (at = program.find("{}")) != std::string::npos;)
      program.replace(at, 2, SFUMATO_PROGRAM);
    const int status =
        std::system(fmt::format("cd {} && ({})", directory_.string(), program).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // Steps of the last checkpoint; -1 without one.
  std::int64_t step(const std::string& run) const {
    const fs::path state = at(run + "/sfumato/state.safetensors");
    if (!fs::exists(state)) return -1;
    return static_cast<std::int64_t>(io::SafeTensors(state).tensor("step").item());
  }
  bool reaches(const std::string& run, std::int64_t steps) const {
    for (int i = 0; i < 3000; ++i) {
      if (step(run) >= steps) return true;
      std::this_thread::sleep_for(20ms);
    }
    return false;
  }
  // Pictures so large that drawing a grid of them takes many seconds.
  void put_large_pictures() const {
    io::write_npy(at("large.npy"), Tensor::full({4, 128, 128}, 100, DType::u8));
  }
};

void expect_one_line(const Outcome& o) {
  EXPECT_EQ(o.code, 1) << o.command << ": signal " << o.signal;
  EXPECT_TRUE(o.err.starts_with("sfumato: ")) << o.command << ": " << o.err;
  EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.command << ": " << o.err;
}

TEST_F(Robust, ClosedDescriptorsTakeNothingIn) {
  put_digits("data");
  for (int closed = 1; closed < 8; ++closed) {
    Setting setting;
    setting.prepare = [closed] {
      for (int fd = 0; fd < 3; ++fd)
        if (closed >> fd & 1) ::close(fd);
    };
    fs::remove_all(at("run"));
    const Outcome o = run("train --out run --steps 20 --checkpoint-every 0" + kTiny, setting);
    EXPECT_EQ(o.code, 0) << closed << ": signal " << o.signal << ": " << o.err;
    const auto lines = metrics("run");
    ASSERT_EQ(lines.size(), 2u) << closed;
    EXPECT_EQ(lines[1].get_int("step"), 20);
    EXPECT_EQ(step("run"), 20);
    // A result that nobody can see is an error, its file is whole all the same.
    const Outcome s = run("sample --model run --steps 1 --count 2 --out x.png", setting);
    EXPECT_EQ(s.code, closed & 2 ? 1 : 0) << closed << ": signal " << s.signal << ": " << s.err;
    io::read_image(at("x.png"));
    EXPECT_EQ(run("info", setting).code, closed & 2 ? 1 : 0) << closed;
    EXPECT_EQ(run("info --model nowhere", setting).code, 1) << closed;
    EXPECT_EQ(run("--nonsense", setting).code, 2) << closed;
  }
}

TEST_F(Robust, StreamsThatAreFull) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full";
  put_run();
  EXPECT_EQ(shell("{} info --model nowhere 2> /dev/full"), 1);
  EXPECT_EQ(shell("{} info --model nowhere > /dev/full 2> /dev/full"), 1);
  EXPECT_EQ(shell("{} --nonsense 2> /dev/full"), 2);
  EXPECT_EQ(shell("{} train --out other --steps 2 2> /dev/full > /dev/full" + kTiny), 0);
  EXPECT_EQ(shell("{} train --resume run --stop-after 1 2> /dev/full > /dev/full"), 0);
  for (const std::string& result :
       {std::string("--help"), std::string("--version"), std::string("train --help"),
        std::string("info"), std::string("info --json"), std::string("info --model run"),
        std::string("sample --model run --steps 1 --count 2 --out x.png")}) {
    EXPECT_EQ(shell("{} " + result + " > /dev/full 2> err"), 1) << result;
    EXPECT_NE(get("err").find("No space left on device"), std::string::npos) << get("err");
    EXPECT_EQ(shell("{} " + result + " > /dev/full 2> /dev/full"), 1) << result;
    EXPECT_EQ(shell("{} " + result + " > out 2> /dev/full"), 0) << result;
  }
  io::read_image(at("x.png"));
  EXPECT_EQ(shell("{} predict --model " + kGolden + "/grey28 --in " + kGolden +
                  "/grey28/in.safetensors --out y.safetensors > /dev/full 2> /dev/full"),
            0);
}

TEST_F(Robust, ReadersThatHaveGone) {
  put_digits("data");
  const std::string code = "; echo $? > code) | ";
  shell("({} train --out run --steps 60" + kTiny + code + "head -c 1 > first");
  EXPECT_EQ(get("code"), "0\n");
  EXPECT_EQ(step("run"), 60);
  shell("({} sample --model run --steps 2 --count 8 --out x.png 2> err" + code + "exec true <&-");
  EXPECT_EQ(get("code"), "1\n");
  EXPECT_EQ(get("err"), "sfumato: [stdout] cannot write: Broken pipe\n");
  io::read_image(at("x.png"));
  shell("({} info --model run 2> err" + code + "exec true <&-");
  EXPECT_EQ(get("code"), "1\n");
}

TEST_F(Robust, ATerminalThatCloses) {
  put_digits("data");
  Process process("train --out run --minutes 100" + kTiny, directory_);
  ASSERT_TRUE(process.says("step 1 "));
  for (int i = 0; i < 3; ++i) process.send(SIGHUP);  // the shell's and the system's
  const Outcome o = process.wait();
  EXPECT_EQ(o.code, 0) << o.signal << '\n' << o.err;
  EXPECT_NE(o.out.find("with a checkpoint"), std::string::npos) << o.out;
  EXPECT_GE(step("run"), 1);
}

TEST_F(Robust, SignalsThatWereIgnoredStayIgnored) {
  put_digits("data");
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Setting setting;
    setting.prepare = [signal] { ::signal(signal, SIG_IGN); };
    fs::remove_all(at("run"));
    Process process("train --out run --steps 200" + kTiny, directory_, setting);
    ASSERT_TRUE(process.says("step 1/"));
    process.send(signal);
    process.send(signal);
    const Outcome o = process.wait();
    EXPECT_EQ(o.code, 0) << o.signal << '\n' << o.err;
    EXPECT_NE(o.out.find("done: 200 steps"), std::string::npos) << signal << ": " << o.out;
  }
}

TEST_F(Robust, ASecondSignalEndsAtOnce) {
  put_large_pictures();
  Process process("train --out run --steps 1 --batch 1 --model tiny --data large.npy", directory_);
  ASSERT_TRUE(reaches("run", 1));
  process.send(SIGINT);
  process.send(SIGINT);
  const Outcome o = process.wait();
  EXPECT_TRUE(o.signal == SIGINT || o.code == 0);  // the first may have been answered by then
  EXPECT_EQ(step("run"), 1);
}

TEST_F(Robust, SignalsDoNotWaitForPictures) {
  put_large_pictures();
  const std::string large = " --batch 1 --model tiny --data large.npy --checkpoint-every 1000";
  struct Row {
    std::string line, says;
  };
  // Before the last grid, and before one in the middle of a run.
  for (const Row& row : {Row{"train --out end --steps 2", "train --resume end"},
                         Row{"train --out middle --minutes 9 --sample-every 0.001",
                             "with a checkpoint; go on with"}}) {
    const std::string folder = row.line.find(" end ") != std::string::npos ? "end" : "middle";
    Process process(row.line + large, directory_);
    ASSERT_TRUE(reaches(folder, folder == "end" ? 2 : 1));
    std::this_thread::sleep_for(100ms);
    const auto begin = std::chrono::steady_clock::now();
    process.send(SIGTERM);
    const Outcome o = process.wait();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_EQ(o.code, 0) << o.signal << '\n' << o.err;
    EXPECT_NE(o.out.find(row.says), std::string::npos) << o.out;
    // Alone on a machine it takes some hundredths; the pictures, ten seconds and more.
    EXPECT_LT(took.count(), kSanitized ? 60 : 4) << row.line;
    EXPECT_TRUE(fs::is_empty(at(folder + "/samples")));
    EXPECT_EQ(temporaries(), std::vector<std::string>());
    EXPECT_EQ(metrics(folder).back().get_int("step"), step(folder));
  }
}

TEST_F(Robust, LimitsOnMemoryEndInOneLine) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need more address space than there is";
  put_run();
  put_digits("data");
  for (const std::string& line :
       {std::string("info --json --threads 64"), "train --threads 16 --out new --steps 2" + kTiny,
        std::string("sample --threads 16 --model run --steps 1 --count 8 --out x.png")}) {
    int done = 0;
    for (const rlim_t megabytes : {24, 40, 64, 96, 160, 300, 700}) {
      Setting setting;
      setting.prepare = [megabytes] {
        const rlimit limit{megabytes << 20, megabytes << 20};
        ::setrlimit(RLIMIT_AS, &limit);
        ::alarm(120);  // instead of a hang
      };
      fs::remove_all(at("new"));
      const Outcome o = run(line, setting);
      if (o.code == 127) continue;  // too little even for the loader
      if (o.code == 0) {
        ++done;
        EXPECT_TRUE(o.err.empty() || o.err.starts_with("note: ")) << o.err;
      } else {
        expect_one_line(o);
      }
    }
    EXPECT_GE(done, 1) << line;
  }
}

TEST_F(Robust, FewerThreadsThanAskedForAreSaid) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need more address space than there is";
  Setting setting;
  setting.prepare = [] {
    const rlimit limit{rlim_t{1} << 30, rlim_t{1} << 30};  // 1024 stacks take 8 GiB
    ::setrlimit(RLIMIT_AS, &limit);
  };
  const Outcome o = run("info --json --threads 1024", setting);
  ASSERT_EQ(o.code, 0) << o.signal << o.err;
  const auto threads = io::parse_json(o.out, "out").at("threads").get<int>();
  EXPECT_GE(threads, 1);
  EXPECT_LT(threads, 1024);
  EXPECT_EQ(o.err, fmt::format("note: the system let only {} of 1024 threads start\n", threads));
  EXPECT_EQ(run("info --json", setting).err, "");
}

TEST_F(Robust, AFolderThatIsMovedIsNotMistakenForAnother) {
  put_digits("data");
  done("train --out whole --steps 40 --seed 2" + kTiny);
  const auto moved = [&](bool replaced) {
    fs::remove_all(at("moved"));
    auto first = std::make_unique<Process>(
        "train --out run --minutes 100 --checkpoint-every 1000 --seed 1" + kTiny, directory_);
    EXPECT_TRUE(first->says("step 1 "));
    fs::rename(at("run"), at("moved"));
    if (replaced) done("train --out run --steps 40 --stop-after 1 --seed 2" + kTiny);
    first->send(SIGTERM);
    const Outcome o = first->wait();
    expect_one_line(o);
    EXPECT_NE(o.err.find("[run] the folder was moved or replaced"), std::string::npos) << o.err;
    EXPECT_EQ(step("moved"), 0);
    done("train --resume moved --stop-after 2");
    EXPECT_EQ(step("moved"), 2);
  };
  moved(false);
  EXPECT_FALSE(fs::exists(at("run")));
  moved(true);
  EXPECT_EQ(step("run"), 1);
  done("train --resume run");
  EXPECT_EQ(learned(at("run")), learned(at("whole")));
}

TEST_F(Robust, ALivingLockSurvivesTheEndOfARunThatWasMoved) {
  put_digits("data");
  const std::string endless = " --minutes 100" + kTiny;
  Process first("train --out run" + endless, directory_);
  ASSERT_TRUE(first.says("step 1 "));
  fs::rename(at("run"), at("moved"));
  Process second("train --out run" + endless, directory_);
  ASSERT_TRUE(second.says("step 1 "));
  first.send(SIGTERM);
  expect_one_line(first.wait());
  refused("train --resume run", {"another sfumato process is using run"});
  second.send(SIGTERM);
  EXPECT_EQ(second.wait().code, 0);
  done("train --resume run --stop-after 1");
}

TEST_F(Robust, LinksInAStrangersRun) {
  put_digits("data");
  done("train --out fresh --steps 3 --stop-after 2" + kTiny);
  put("victim", "precious contents");
  fs::create_directory(at("other"));
  put(fmt::format("other/.sfumato-tmp-{}-0", 999999999), "somebody's");
  for (const std::string& name :
       {std::string(".lock"), std::string("metrics.jsonl"), std::string("loss.svg"),
        std::string("sfumato/state.safetensors"), std::string("samples/final.png"),
        std::string("model_index.json"), std::string("unet/diffusion_pytorch_model.safetensors"),
        std::string("unet"), std::string("samples"), std::string("scheduler")}) {
    for (const bool dangling : {false, true}) {
      copy("fresh", "run");
      const bool folder = name.find('.') == std::string::npos;
      std::string target = folder                             ? "../other"
                           : fs::path(name).has_parent_path() ? "../../victim"
                                                              : "../victim";
      if (dangling) target += "-missing";
      fs::remove_all(at("run/" + name));
      fs::create_symlink(target, at("run/" + name));
      const Outcome o = run("train --resume run");
      if (name == "model_index.json") {
        // Written only in a run's first moments.
        EXPECT_TRUE(o.code == 0 || o.code == 1) << o.err;
      } else {
        expect_one_line(o);
        EXPECT_NE(o.err.find("[run/" + fs::path(name).parent_path().string()), std::string::npos)
            << name << ": " << o.err;
      }
      EXPECT_EQ(get("victim"), "precious contents") << name;
      EXPECT_FALSE(fs::exists(at("victim-missing"))) << name;
      EXPECT_FALSE(fs::exists(at("other-missing"))) << name;
      EXPECT_EQ(std::distance(fs::directory_iterator(at("other")), fs::directory_iterator()), 1);
    }
  }
}

TEST_F(Robust, ARunThatIsResumedLeavesLivingWritersAlone) {
  put_run();
  const std::string living = fmt::format("run/.sfumato-tmp-{}-0", ::getpid());
  put(living, "half a picture");
  done("train --resume run --stop-after 1");
  EXPECT_EQ(get(living), "half a picture");
}

}  // namespace
}  // namespace sfumato::apps
