// The fields of a configuration file, each declared once. One function lists them:
//
//   template <class Visitor, class Config>
//   void visit_fields(Visitor&& v, Config& c) {
//     v("in_channels", c.in_channels, Integer{1, 1 << 16});
//     v("dropout", c.dropout, Real{[](double p) { return p >= 0 && p < 1; }, "0 <= p < 1"});
//   }
//
// and the visitors below walk the list: to read a file, to write it, to check the values, to know the keys. The
// third argument is the form of the value: its type in JSON, and which values are allowed. A form has
//
//   void read(const JsonObject&, const char* key, T& value) const;   of a key that is there and not null
//   void read_null(T& value) const;                                  of null; most leave the default
//   Json write(const T& value) const;
//   std::string problem(const T& value) const;                       "expected 1..9, got 0"; empty when there is none
//
// For .cpp files: it includes nlohmann's header.
#pragma once
#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/json.h"

namespace sfumato::io {

struct AnyValue {
  template <class T>
  void read_null(T&) const {}
  template <class T>
  std::string problem(const T&) const {
    return {};
  }
  template <class T>
  Json write(const T& value) const {
    return value;
  }
};

struct Bool : AnyValue {
  void read(const JsonObject& json, const char* key, bool& value) const {
    value = json.get_bool(key);
  }
};

struct Integer : AnyValue {
  std::int64_t low = std::numeric_limits<std::int64_t>::min(),
               high = std::numeric_limits<std::int64_t>::max();
  Integer() = default;
  Integer(std::int64_t low, std::int64_t high) : low(low), high(high) {}
  void read(const JsonObject& json, const char* key, std::int64_t& value) const {
    value = json.get_int(key);
  }
  std::string problem(std::int64_t value) const {
    return value >= low && value <= high ? ""
                                         : fmt::format("expected {}..{}, got {}", low, high, value);
  }
};

struct Integers : Integer {
  using Integer::Integer;
  void read(const JsonObject& json, const char* key, std::vector<std::int64_t>& values) const {
    values = json.get_ints(key);
  }
  std::string problem(const std::vector<std::int64_t>& values) const {
    std::string first;
    for (const std::int64_t value : values)
      if (first.empty()) first = Integer::problem(value);
    return first;
  }
};

struct Real : AnyValue {
  bool (*holds)(double value) = nullptr;  // null: any number
  const char* expected = "";
  Real() = default;
  Real(bool (*holds)(double), const char* expected) : holds(holds), expected(expected) {}
  void read(const JsonObject& json, const char* key, double& value) const {
    value = json.get_number(key);
  }
  std::string problem(double value) const {
    return !holds || holds(value) ? "" : fmt::format("expected {}, got {}", expected, value);
  }
};

// A value of the form, or null for none.
template <class Form>
struct OrNull : AnyValue {
  Form form;
  explicit OrNull(const Form& form) : form(form) {}
  template <class T>
  void read(const JsonObject& json, const char* key, std::optional<T>& value) const {
    form.read(json, key, value.emplace());
  }
  template <class T>
  void read_null(std::optional<T>& value) const {
    value.reset();
  }
  template <class T>
  Json write(const std::optional<T>& value) const {
    return value ? form.write(*value) : Json(nullptr);
  }
  template <class T>
  std::string problem(const std::optional<T>& value) const {
    return value ? form.problem(*value) : std::string();
  }
};

// Fields that `json` does not have keep the value that they have: their default.
struct ReadFields {
  const JsonObject& json;
  template <class T, class Form>
  void operator()(const char* key, T& value, const Form& form) const {
    if (json.contains(key)) {
      form.read(json, key, value);
    } else if (json.json().contains(key)) {
      form.read_null(value);
    }
  }
};

struct WriteFields {
  Json& json;
  template <class T, class Form>
  void operator()(const char* key, const T& value, const Form& form) const {
    json[key] = form.write(value);
  }
};

// Throws Error, with `where` as its source, for the first value that is not allowed.
struct CheckFields {
  const char* where;
  template <class T, class Form>
  void operator()(const char* key, const T& value, const Form& form) const {
    if (const std::string problem = form.problem(value); !problem.empty())
      throw Error(where, fmt::format("{}: {}", key, problem));
  }
};

struct CollectKeys {
  std::set<std::string>& keys;
  template <class T, class Form>
  void operator()(const char* key, const T&, const Form&) const {
    keys.insert(key);
  }
};

}  // namespace sfumato::io
