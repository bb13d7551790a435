#include "apps/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <bit>
#include <chrono>

#include "tensor/error.h"

namespace sfumato::apps {
namespace {

// CRC-32C (Castagnoli's polynomial), bit by bit: a record has a hundred bytes.
std::uint32_t crc32c(const std::string& bytes) {
  std::uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

// TensorFlow's, so that the CRC of data that hold CRCs is one too.
std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>((value >> (8 * i)) & 0xff);
  return text;
}

// Protocol buffers: a field is its number and how it is written, then its value.
enum Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(std::uint64_t value) {
  std::string text;
  for (; value >= 128; value >>= 7) text += static_cast<char>((value & 127) | 128);
  return text + static_cast<char>(value);
}
std::string key(int field, Wire wire) {
  return varint(static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(wire));
}
std::string field(int number, std::uint64_t value) { return key(number, kVarint) + varint(value); }
std::string field(int number, const std::string& bytes) {
  return key(number, kBytes) + varint(bytes.size()) + bytes;
}
std::string field(int number, double value) {
  return key(number, kFixed64) + little_endian(std::bit_cast<std::uint64_t>(value), 8);
}
std::string field(int number, float value) {
  return key(number, kFixed32) + little_endian(std::bit_cast<std::uint32_t>(value), 4);
}

// Event: 1 wall_time, 2 step, and one of 3 file_version, 5 summary, 7 session_log.
std::string event(std::int64_t step, const std::string& what) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return field(1, now.count()) + field(2, static_cast<std::uint64_t>(step)) + what;
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& dir, std::int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  path_ =
      dir / fmt::format("events.out.tfevents.{}.sfumato.{}",
                        std::chrono::duration_cast<std::chrono::seconds>(now).count(), ::getpid());
  out_.open(path_, std::ios::binary | std::ios::app);
  if (!out_) throw Error(path_.string(), "cannot be opened for writing");
  record(event(0, field(3, std::string("brain.Event:2"))));
  const std::string start = field(1, std::uint64_t{1});  // SessionLog: status START
  record(event(step + 1, field(7, start)));  // TensorBoard drops what is known from this step on
}

void EventFile::scalars(std::int64_t step,
                        std::initializer_list<std::pair<const char*, double>> named_values) {
  std::string summary;
  for (const auto& [tag, value] : named_values)  // Summary: 1 value of 1 tag, 2 simple_value
    summary += field(1, field(1, std::string(tag)) + field(2, static_cast<float>(value)));
  record(event(step, field(5, summary)));
}

void EventFile::record(const std::string& event) {
  const std::string length = little_endian(event.size(), 8);
  out_ << length << little_endian(masked(crc32c(length)), 4) << event
       << little_endian(masked(crc32c(event)), 4) << std::flush;
  if (!out_) throw Error(path_.string(), "cannot be written");
}

}  // namespace sfumato::apps
