// What the tests of the program share: running it as a user would, in a directory of its own for
// each test, and small data sets cut from the real MNIST.
#pragma once
#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/io/json.h"
#include "tensor/sanitizers.h"
#include "tests/temporary_folder.h"

namespace sfumato::apps {

namespace fs = std::filesystem;

inline constexpr bool kSanitized = kAddressSanitizer || kThreadSanitizer;

// Models with what diffusers makes of them (tests/golden/make_golden.py).
inline const std::string kGolden = SFUMATO_SOURCE_DIR "/tests/golden";
// Options of the smallest training run.
inline const std::string kTiny = " --data data --model tiny --batch 8";

// How a process ended, and all that it said.
struct Outcome {
  std::string command;
  int code = -1;   // -1: ended by a signal
  int signal = 0;  // 0: ended by itself
  std::string out, err;
};

struct Setting {
  std::map<std::string, std::string> environment = {};  // SFUMATO_... only
  std::uint64_t max_file_bytes = 0;                     // 0: no limit
  // Called in the new process last of all: system calls only. May be empty.
  std::function<void()> prepare = {};
};

// The program at work.
class Process {
 public:
  // `line`: the arguments, separated by spaces; '' is an empty one.
  Process(const std::string& line, const fs::path& directory, const Setting& setting = {});
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();  // kills it if it still runs
  // Waits until it has said `text` on its standard output; false when it ended without.
  bool says(std::string_view text);
  void send(int signal);
  Outcome wait();

 private:
  bool listen();  // false at the end of both streams

  std::string line_;
  pid_t pid_;
  int out_fd_, err_fd_;
  std::string out_, err_;
};

// The first digits of MNIST's test set that are below `classes`. Size 28 is the whole picture, 12
// its middle 24 x 24 at half the resolution.
struct Digits {
  std::int64_t count = 64, classes = 2, size = 12;
};

// A directory for each test, in which the program runs; relative paths are meant from there.
class AppTest : public ::testing::Test {
 protected:
  fs::path at(std::string_view name) const { return directory_ / name; }
  std::string get(std::string_view name) const;
  void put(std::string_view name, std::string_view bytes) const;  // makes directories
  void copy(std::string_view from, std::string_view to) const;    // directories whole, replaced

  Outcome run(const std::string& line, const Setting& setting = {}) const;
  // Expects exit code 0 and silence on the standard error.
  Outcome done(const std::string& line, const Setting& setting = {}) const;
  // Expects exit code 1 and one line on the standard error that begins with "sfumato: " and holds
  // all fragments; or, with `code` 2, some lines that hold them.
  Outcome refused(const std::string& line, std::initializer_list<std::string_view> fragments,
                  int code = 1, const Setting& setting = {}) const;

  // Writes an IDX pair to train on.
  void put_digits(std::string_view directory, const Digits& digits = {}) const;
  // A run of two steps on 12 x 12 digits of two classes in "run", its data in "data".
  void put_run() const;
  // The entries of a run's metrics.jsonl; fails the test unless every line is one, their steps
  // rising.
  std::vector<io::JsonObject> metrics(const std::string& run) const;
  // Names of temporary files that are left anywhere.
  std::vector<std::string> temporaries() const;

  TemporaryFolder folder_;
  const fs::path& directory_ = folder_.path();
};

// What a run has learned, as bytes: its model's file and all state but the clock's.
struct Learned {
  std::string weights;
  std::map<std::string, std::string> state;
  bool operator==(const Learned&) const = default;
};
Learned learned(const fs::path& run);

std::string read_bytes(const fs::path& path);

}  // namespace sfumato::apps
