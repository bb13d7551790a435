// What the configurations of networks share (unet_config.cpp, dit_config.cpp, ...) beyond the forms of tensor/io/fields.h: keys of
// a diffusers config.json that have one supported value, or one of two words, and keys that the class does not have.
//
// For .cpp files: it includes nlohmann's header.
#pragma once
#include <fmt/format.h>

#include <set>
#include <string>
#include <vector>

#include "tensor/io/fields.h"

namespace sfumato::nn {

[[noreturn]] inline void refuse_value(const io::JsonObject& json, const char* key,
                                      const std::string& came, const std::string& supported) {
  throw Error(json.source(), fmt::format("{}: {} is not supported (supported: {})", key,
                                         io::in_quotes(came), supported));
}

// The member of a key that has none.
struct NoMember {};

// A key without a member, as there is only one supported value: `value`, which may also be called `alias`.
struct Only : io::AnyValue {
  const char *value, *alias;
  explicit Only(const char* value, const char* alias = nullptr) : value(value), alias(alias) {}
  template <class T>
  void read(const io::JsonObject& json, const char* key, T&) const {
    const std::string came = json.get_string(key);
    if (came != value && !(alias && came == alias)) refuse_value(json, key, came, value);
  }
  template <class T>
  io::Json write(const T&) const {
    return value;
  }
};

// A flag without a member, as there is only one supported value.
struct OnlyFlag : io::AnyValue {
  bool value;
  explicit OnlyFlag(bool value) : value(value) {}
  template <class T>
  void read(const io::JsonObject& json, const char* key, T&) const {
    if (json.get_bool(key) != value)
      refuse_value(json, key, value ? "false" : "true", value ? "true" : "false");
  }
  template <class T>
  io::Json write(const T&) const {
    return value;
  }
};

// true is one word, false another.
struct Words : io::AnyValue {
  const char *no, *yes;
  Words(const char* no, const char* yes) : no(no), yes(yes) {}
  bool parse(const io::JsonObject& json, const char* key, const std::string& word) const {
    if (word != no && word != yes) refuse_value(json, key, word, fmt::format("{}, {}", no, yes));
    return word == yes;
  }
  void read(const io::JsonObject& json, const char* key, bool& value) const {
    value = parse(json, key, json.get_string(key));
  }
  io::Json write(bool value) const { return value ? yes : no; }
};

// diffusers and this library read past a key that the class does not have; a line in `notes` names all of them.
inline void note_foreign_keys(const io::JsonObject& json, const char* class_name,
                              const std::set<std::string>& known, std::vector<std::string>* notes) {
  std::vector<std::string> foreign;
  for (const auto& [key, value] : json.json().items())
    if (!key.starts_with("_") && !known.contains(key)) foreign.push_back(key);
  if (notes && !foreign.empty())
    notes->push_back(fmt::format("{}: read past {}, which {} does not have", json.source(),
                                 io::in_quotes(foreign), class_name));
}

// The Config of a class, whose fields `visit`(visitor, config) visits. `known`: keys that are no field's, and are the class's
// all the same.
template <class Config, class Visit>
Config read_config(const io::JsonObject& json, const char* class_name, const Visit& visit,
                   std::vector<std::string>* notes, std::set<std::string> known = {}) {
  Config c;
  visit(io::CollectKeys{known}, c);
  note_foreign_keys(json, class_name, known, notes);
  visit(io::ReadFields{json}, c);
  try {
    c.check();
  } catch (const Error& e) {
    throw Error(json.source(), e.what());
  }
  return c;
}

}  // namespace sfumato::nn
