#include "tensor/io/json.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "tensor/error.h"
#include "tensor/io/file.h"

namespace sfumato::io {
namespace {

// The type of a value and, where it is short, the value: `the string "big"`.
std::string describe(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (value.is_string()) return "the string " + in_quotes(value.get_ref<const std::string&>());
  if (value.is_number_float() && !std::isfinite(value.get<double>()))
    return std::isnan(value.get<double>()) ? "NaN"
           : value.get<double>() > 0       ? "Infinity"
                                           : "-Infinity";
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
  if constexpr (std::is_same_v<T, double>)
    return value.is_number() && std::isfinite(value.get<double>());
  if constexpr (std::is_same_v<T, bool>) return value.is_boolean();
  if constexpr (std::is_same_v<T, std::string>) return value.is_string();
  if constexpr (IsVector<T>::value) return value.is_array();
}

// `where` is the key as messages show it.
template <class T>
T convert(const Json& value, const std::string& source, const std::string& where) {
  if (!holds<T>(value))
    throw Error(source,
                fmt::format("{}: expected {}, got {}", where,
                            std::is_same_v<T, double> && value.is_number() ? "a finite number"
                                                                           : type_name<T>(),
                            describe(value)));
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

// A number that the parser cannot read, by its place among the numbers of the text.
struct Word {
  std::size_t place;
  double value;
};

// Replaces the words NaN, Infinity and -Infinity outside strings by a 0 of their width, so that
// positions in messages stay right, and returns what they mean. A word that is only part of another
// one, as in -NaN, stays and is refused by the parser.
std::vector<Word> replace_words(std::string& text) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto in_word = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' ||
           c == '-' || c == '.' || c == '_';
  };
  std::vector<Word> words;
  std::size_t numbers = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i)
        if (text[i] == '\\') ++i;
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && in_word(text[end])) ++end;
    if (end == i) {
      ++i;
      continue;
    }
    const std::string_view word = std::string_view(text).substr(i, end - i);
    const double value = word == "NaN"         ? std::numeric_limits<double>::quiet_NaN()
                         : word == "Infinity"  ? kInfinity
                         : word == "-Infinity" ? -kInfinity
                                               : 0;
    if (value != 0) {
      words.push_back({numbers++, value});
      text.replace(i, end - i, "0" + std::string(end - i - 1, ' '));
    } else if (word[0] == '-' || (word[0] >= '0' && word[0] <= '9')) {
      ++numbers;
    }
    i = end;
  }
  return words;
}

// Builds the value while nlohmann's parser walks the text. (Its own parser with a callback could
// check the same, but takes time quadratic in the number of an object's members.)
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view source, std::vector<Word> words)
      : source_(source), words_(std::move(words)) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return number(value); }
  bool number_unsigned(std::uint64_t value) override { return number(value); }
  bool number_float(double value, const std::string&) override { return number(value); }
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

  Json root = nullptr;

 private:
  bool number(Json value) {
    const bool is_word = next_word_ < words_.size() && words_[next_word_].place == numbers_;
    ++numbers_;
    return add(is_word ? Json(words_[next_word_++].value) : std::move(value));
  }

  // Puts a value where the text stands; afterwards last_ is its place.
  bool add(Json value) {
    if (++values_ > kMaxJsonValues)
      throw Error(source_, fmt::format("expected at most {} JSON values", kMaxJsonValues));
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
  std::vector<Word> words_;
  std::size_t next_word_ = 0, numbers_ = 0, values_ = 0;
  std::vector<Json*> open_;  // containers around the place where the text stands
  Json* member_ = nullptr;   // where the last key's value goes
  Json* last_ = nullptr;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view source, std::size_t max_bytes) {
  if (text.size() > max_bytes)
    throw Error(source,
                fmt::format("expected at most {} bytes of JSON, got {}", max_bytes, text.size()));
  std::string replaced;
  std::vector<Word> words;
  if (text.find("NaN") != text.npos || text.find("Infinity") != text.npos) {
    replaced = text;
    words = replace_words(replaced);
    text = replaced;
  }
  Builder builder(source, std::move(words));
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
  static const Json null = nullptr;
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
