// `train --tensorboard`: the event files, read by a reader of the test's own.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tensor/io/json.h"
#include "tests/apps/support.h"

namespace sfumato::apps {
namespace {

// CRC-32C by a table, as TensorFlow's record format masks it.
std::uint32_t masked_crc(const std::string& bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    std::uint32_t entry = (crc ^ static_cast<std::uint8_t>(c)) & 0xff;
    for (int k = 0; k < 8; ++k) entry = (entry >> 1) ^ ((entry & 1) * 0x82f63b78);
    crc = entry ^ (crc >> 8);
  }
  crc ^= 0xffffffff;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

template <class T>
T number(const std::string& bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

std::vector<std::string> records(const std::string& file) {
  std::vector<std::string> all;
  for (std::size_t at = 0; at < file.size();) {
    const auto length = number<std::uint64_t>(file, at);
    EXPECT_EQ(number<std::uint32_t>(file, at + 8), masked_crc(file.substr(at, 8)));
    all.push_back(file.substr(at + 12, length));
    EXPECT_EQ(number<std::uint32_t>(file, at + 12 + length), masked_crc(all.back()));
    at += 16 + length;
  }
  return all;
}

// The fields of a message by number: numbers as they are, texts and messages as bytes.
struct Field {
  std::uint64_t number = 0;
  std::string bytes;
};
std::multimap<std::uint64_t, Field> fields(const std::string& message) {
  std::multimap<std::uint64_t, Field> all;
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(message.at(at++));
      value |= static_cast<std::uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.size()) {
    const std::uint64_t key = varint();
    Field f;
    if (key % 8 == 0) {
      f.number = varint();
    } else {
      const std::uint64_t size = key % 8 == 1 ? 8 : key % 8 == 5 ? 4 : varint();
      f.bytes = message.substr(at, size);
      at += size;
    }
    all.emplace(key / 8, f);
  }
  return all;
}

class Tensorboard : public AppTest {
 protected:
  Tensorboard() { put_digits("data", {.count = 40}); }

  std::vector<std::string> event_files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(at("run")))
      if (entry.path().filename().string().starts_with("events.out.tfevents."))
        names.push_back("run/" + entry.path().filename().string());
    return names;
  }
};

// The published check value of CRC-32C, "123456789" -> e3069283, says that the reader's is right.
TEST(TensorboardReader, KnowsTheCrc) {
  const std::uint32_t crc = 0xe3069283;
  EXPECT_EQ(masked_crc("123456789"), ((crc >> 15) | (crc << 17)) + 0xa282ead8);
}

TEST_F(Tensorboard, EventsSayWhatTheMetricsSay) {
  done(
      "train --out run --data data --model tiny --batch 4 --steps 20 --sample-every 0 "
      "--tensorboard");
  ASSERT_EQ(event_files().size(), 1u);
  const std::vector<std::string> events = records(get(event_files()[0]));
  ASSERT_EQ(events.size(), 4u);  // version, start, two reports
  EXPECT_EQ(fields(events[0]).find(3)->second.bytes, "brain.Event:2");
  EXPECT_EQ(fields(fields(events[1]).find(7)->second.bytes).find(1)->second.number, 1u);
  std::istringstream lines(get("run/metrics.jsonl"));
  std::string line;
  for (std::size_t i = 2; std::getline(lines, line); ++i) {
    const io::Json metrics = io::parse_json(line, "metrics.jsonl");
    const auto event = fields(events.at(i));
    EXPECT_GT(number<double>(event.find(1)->second.bytes, 0), 1.6e9);  // seconds since 1970
    EXPECT_EQ(event.find(2)->second.number, metrics.at("step").get<std::uint64_t>());
    const auto summary = fields(event.find(5)->second.bytes);
    EXPECT_EQ(summary.size(), 5u);
    for (const auto& [one, value] : summary) {
      const auto parts = fields(value.bytes);
      const std::string tag = parts.find(1)->second.bytes;
      EXPECT_EQ(number<float>(parts.find(2)->second.bytes, 0), metrics.at(tag).get<float>()) << tag;
    }
  }
  // Resumed: another file, which begins after the checkpoint's step; without the option none.
  EXPECT_EQ(run("train --resume run --steps 30").code, 0);  // it notes the new budget
  ASSERT_EQ(event_files().size(), 2u);
  std::vector<std::uint64_t> starts;
  for (const std::string& file : event_files())
    starts.push_back(fields(records(get(file)).at(1)).find(2)->second.number);
  std::sort(starts.begin(), starts.end());
  EXPECT_EQ(starts, (std::vector<std::uint64_t>{1, 21}));
  done("train --out plain --data data --model tiny --batch 4 --steps 1 --sample-every 0");
  for (const auto& entry : std::filesystem::directory_iterator(at("plain")))
    EXPECT_EQ(entry.path().string().find("tfevents"), std::string::npos);
}

}  // namespace
}  // namespace sfumato::apps
