// JSON as configuration: strict reading (depth, size and number of values limited; duplicate keys
// and trailing text refused) and typed access whose errors name the file, the key, what was
// expected and what came. The three words that Python's json writes beyond the standard, NaN,
// Infinity and -Infinity, are read as the numbers they mean. Code that builds Json includes
// <nlohmann/json.hpp> itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/io/text.h"

namespace sfumato::io {

// Keys are kept sorted, as diffusers writes them too; so lookups stay fast in a header with many
// thousands of entries.
using Json = nlohmann::json;

inline constexpr int kMaxJsonDepth = 64;
inline constexpr std::size_t kMaxJsonBytes = std::size_t{16} << 20;
// Values of all kinds, at every depth. A value takes some 100 bytes of memory, more than its text.
inline constexpr std::size_t kMaxJsonValues = 1'000'000;

// `source` is named in errors. Throws for anything that is not one JSON value.
Json parse_json(std::string_view text, std::string_view source,
                std::size_t max_bytes = kMaxJsonBytes);
Json read_json(const std::filesystem::path& path);
// Indented by two, replaced atomically. Throws for text that is not UTF-8.
void write_json(const std::filesystem::path& path, const Json& json);

// An object with typed access: `JsonObject::read(path).get_int("sample_size", 32)`. The
// one-argument getters throw when the key is missing; with a fallback, a missing key or null gives
// the fallback. A value of another type always throws.
class JsonObject {
 public:
  // Throws unless `json` is an object.
  JsonObject(Json json, std::string source);
  static JsonObject read(const std::filesystem::path& path);

  const Json& json() const { return *json_; }
  const std::string& source() const { return source_; }
  // Present and not null.
  bool contains(std::string_view key) const;

  // A whole number within 64 bits; 3.0 is not one.
  std::int64_t get_int(std::string_view key) const;
  std::int64_t get_int(std::string_view key, std::int64_t fallback) const;
  // A finite number, like those of get_numbers.
  double get_number(std::string_view key) const;
  double get_number(std::string_view key, double fallback) const;
  bool get_bool(std::string_view key) const;
  bool get_bool(std::string_view key, bool fallback) const;
  std::string get_string(std::string_view key) const;
  std::string get_string(std::string_view key, std::string fallback) const;
  std::vector<std::int64_t> get_ints(std::string_view key) const;
  std::vector<std::int64_t> get_ints(std::string_view key,
                                     std::vector<std::int64_t> fallback) const;
  std::vector<double> get_numbers(std::string_view key) const;
  std::vector<double> get_numbers(std::string_view key, std::vector<double> fallback) const;
  std::vector<std::string> get_strings(std::string_view key) const;
  std::vector<std::string> get_strings(std::string_view key,
                                       std::vector<std::string> fallback) const;
  JsonObject get_object(std::string_view key) const;

 private:
  // The value of `key`, or null when it is missing.
  const Json& find(std::string_view key) const;
  template <class T>
  T required(std::string_view key) const;
  template <class T>
  T optional(std::string_view key, T fallback) const;

  std::shared_ptr<const Json> json_;
  std::string source_;
};

}  // namespace sfumato::io
