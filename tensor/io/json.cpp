#include "tensor/io/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "tensor/error.h"
#include "tensor/io/file.h"

namespace sfumato::io {
namespace {

constexpr auto kReplaceBadUtf8 = Json::error_handler_t::replace;

// The type of a value and, where it is short, the value: `the string "big"`.
std::string describe(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (value.is_string()) return "the string " + in_quotes(value.get_ref<const std::string&>());
  return fmt::format("the {} {}", value.type_name(), value.dump());
}

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

template <class T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, std::int64_t>) return "a whole number";
  if constexpr (std::is_same_v<T, double>) return "a number";
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  if constexpr (IsVector<T>::value) return "an array";
}

template <class T>
bool holds(const Json& value) {
  if constexpr (std::is_same_v<T, std::int64_t>)
    return value.is_number_integer() &&
           (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
  if constexpr (std::is_same_v<T, double>) return value.is_number();
  if constexpr (std::is_same_v<T, bool>) return value.is_boolean();
  if constexpr (std::is_same_v<T, std::string>) return value.is_string();
  if constexpr (IsVector<T>::value) return value.is_array();
}

// `where` is the key as messages show it.
template <class T>
T convert(const Json& value, const std::string& source, const std::string& where) {
  if (!holds<T>(value))
    throw Error(source,
                fmt::format("{}: expected {}, got {}", where, type_name<T>(), describe(value)));
  if constexpr (IsVector<T>::value) {
    T out;
    for (const Json& item : value)
      out.push_back(
          convert<typename T::value_type>(item, source, fmt::format("{}[{}]", where, out.size())));
    return out;
  } else {
    return value.get<T>();
  }
}

// Builds the value while nlohmann's parser walks the text. (Its own parser with a callback could
// check the same, but takes time quadratic in the number of an object's members.)
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(std::string_view source) : source_(source) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }  // not in JSON text
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& key) override {
    const auto [member, inserted] = open_.back()->get_ref<Json::object_t&>().emplace(key, nullptr);
    if (!inserted)
      throw Error(source_, fmt::format("the key {} stands twice in one object", in_quotes(key)));
    member_ = &member->second;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const Json::exception& e) override {
    // "[json.exception.parse_error.101] parse error at line 1, ...": the number tells users
    // nothing.
    std::string what = e.what();
    if (const auto end = what.find("] "); end != std::string::npos) what.erase(0, end + 2);
    if (what.size() > 300) what = what.substr(0, 300) + "...";
    throw Error(source_, fmt::format("expected JSON: {}", what));
  }

  Json root;

 private:
  // Puts a value where the text stands; afterwards last_ is its place.
  bool add(Json value) {
    if (open_.empty()) {
      last_ = &root;
    } else if (open_.back()->is_array()) {
      last_ = &open_.back()->emplace_back();
    } else {
      last_ = member_;
    }
    *last_ = std::move(value);
    return true;
  }

  bool open(Json container) {
    if (open_.size() == kMaxJsonDepth)
      throw Error(source_, fmt::format("JSON nested deeper than {} levels", kMaxJsonDepth));
    add(std::move(container));
    // Stays valid while it is open: its parent grows only after it is closed.
    open_.push_back(last_);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view source_;
  std::vector<Json*> open_;  // containers around the place where the text stands
  Json* member_ = nullptr;   // where the last key's value goes
  Json* last_ = nullptr;
};

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLimit = 100;
  std::string quoted = Json(text.substr(0, kLimit)).dump(-1, ' ', true, kReplaceBadUtf8);
  return quoted.size() > kLimit ? quoted.substr(0, kLimit) + "..." : quoted;
}

Json parse_json(std::string_view text, std::string_view source, std::size_t max_bytes) {
  if (text.size() > max_bytes)
    throw Error(source,
                fmt::format("expected at most {} bytes of JSON, got {}", max_bytes, text.size()));
  Builder builder(source);
  // Every way to fail throws from within.
  Json::sax_parse(text, &builder);
  return std::move(builder.root);
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path, kMaxJsonBytes), path.string());
}

void write_json(const std::filesystem::path& path, const Json& json) {
  std::string text;
  try {
    text = json.dump(2) + "\n";
  } catch (const Json::exception&) {
    throw Error(path.string(), "cannot write JSON: a string is not valid UTF-8");
  }
  write_file_atomic(path, text);
}

JsonObject::JsonObject(Json json, std::string source)
    : json_(std::make_shared<const Json>(std::move(json))), source_(std::move(source)) {
  if (!json_->is_object())
    throw Error(source_, fmt::format("expected a JSON object, got {}", describe(*json_)));
}

JsonObject JsonObject::read(const std::filesystem::path& path) {
  return {read_json(path), path.string()};
}

const Json& JsonObject::find(std::string_view key) const {
  static const Json null;
  const auto it = json_->find(key);
  return it == json_->end() ? null : *it;
}

bool JsonObject::contains(std::string_view key) const { return !find(key).is_null(); }

template <class T>
T JsonObject::required(std::string_view key) const {
  if (!json_->contains(key))
    throw Error(source_, fmt::format("{} is missing, expected {}", in_quotes(key), type_name<T>()));
  return convert<T>(find(key), source_, in_quotes(key));
}

template <class T>
T JsonObject::optional(std::string_view key, T fallback) const {
  return contains(key) ? required<T>(key) : std::move(fallback);
}

using Ints = std::vector<std::int64_t>;
using Numbers = std::vector<double>;
using Strings = std::vector<std::string>;
using Key = std::string_view;

std::int64_t JsonObject::get_int(Key key) const { return required<std::int64_t>(key); }
double JsonObject::get_number(Key key) const { return required<double>(key); }
bool JsonObject::get_bool(Key key) const { return required<bool>(key); }
std::string JsonObject::get_string(Key key) const { return required<std::string>(key); }
Ints JsonObject::get_ints(Key key) const { return required<Ints>(key); }
Numbers JsonObject::get_numbers(Key key) const { return required<Numbers>(key); }
Strings JsonObject::get_strings(Key key) const { return required<Strings>(key); }

std::int64_t JsonObject::get_int(Key key, std::int64_t fallback) const {
  return optional(key, fallback);
}
double JsonObject::get_number(Key key, double fallback) const { return optional(key, fallback); }
bool JsonObject::get_bool(Key key, bool fallback) const { return optional(key, fallback); }
std::string JsonObject::get_string(Key key, std::string fallback) const {
  return optional(key, std::move(fallback));
}
Ints JsonObject::get_ints(Key key, Ints fallback) const {
  return optional(key, std::move(fallback));
}
Numbers JsonObject::get_numbers(Key key, Numbers fallback) const {
  return optional(key, std::move(fallback));
}
Strings JsonObject::get_strings(Key key, Strings fallback) const {
  return optional(key, std::move(fallback));
}

JsonObject JsonObject::get_object(Key key) const {
  if (!json_->contains(key))
    throw Error(source_, fmt::format("{} is missing, expected an object", in_quotes(key)));
  return {find(key), fmt::format("{}: {}", source_, in_quotes(key))};
}

}  // namespace sfumato::io
