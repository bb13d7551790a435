// What the io tests share: a directory per test, raw file access beside the code under test, and
// the messages of errors.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include "tensor/error.h"
#include "tests/temporary_folder.h"

namespace sfumato::io {

// A fresh directory for each test, removed with all it holds.
class IoTest : public ::testing::Test {
 protected:
  std::filesystem::path at(std::string_view name) const { return directory_ / name; }
  // Writes a file as it is, creating directories; returns its path.
  std::filesystem::path put(std::string_view name, std::string_view bytes) const {
    const std::filesystem::path path = at(name);
    std::filesystem::create_directories(path.parent_path());
    // Overwriting in place would make ext4 flush to the disk each time.
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary).write(bytes.data(), std::ssize(bytes));
    return path;
  }
  std::string get(const std::filesystem::path& path) const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  int entries() const {
    const std::filesystem::directory_iterator all(directory_);
    return static_cast<int>(std::distance(begin(all), end(all)));
  }

  TemporaryFolder folder_;
  const std::filesystem::path& directory_ = folder_.path();
};

// The message of the Error that f() throws; "no error" when it throws none.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

// f() throws an Error of one line that holds both texts.
template <class F>
void expect_error(std::string_view file, std::string_view text, F&& f) {
  const std::string message = message_of(f);
  EXPECT_NE(message.find(file), std::string::npos) << message;
  EXPECT_NE(message.find(text), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

// Damages `bytes` in `rounds` ways with a fixed seed (cut short, or a few bits flipped, more often
// near the beginning, where the header is) and calls f(damaged): it must return or throw Error that
// names the file `name`. Anything else fails the test or crashes it.
template <class F>
void survive_damage(const std::string& bytes, std::string_view name, int rounds, F&& f) {
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    std::string damaged = bytes;
    if (round % 3 == 0) {
      damaged.resize(below(bytes.size()));
    } else {
      const std::size_t reach =
          round % 3 == 1 ? std::min<std::size_t>(64, bytes.size()) : bytes.size();
      for (std::size_t flips = 1 + below(3); flips > 0; --flips)
        damaged[below(reach)] ^= static_cast<char>(1u << below(8));
    }
    const std::string message = message_of([&] { f(damaged); });
    if (message == "no error") continue;
    ++refused;
    ASSERT_NE(message.find(name), std::string::npos) << message;
    ASSERT_EQ(message.find('\n'), std::string::npos) << message;
  }
  EXPECT_GT(refused, rounds / 3);  // every cut, at least nearly
}

}  // namespace sfumato::io
