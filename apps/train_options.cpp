#include "apps/train_options.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "diffusion/names.h"

namespace sfumato::apps {
namespace {

class Writer {
 public:
  explicit Writer(io::Json& json) : json_(json) {}

  void operator()(const std::string& field, const OptionInfo& info) {
    json_[info.key] = field;
    try {
      json_[info.key].dump();
    } catch (const io::Json::exception&) {
      throw Error("train", fmt::format("{} {}: the name is not valid UTF-8, so that run.json could "
                                       "not hold it: rename the file or folder",
                                       flag_of(info.key), io::in_quotes(field)));
    }
  }
  void operator()(bool field, const OptionInfo& info) { json_[info.key] = field; }
  template <class T, class R>
  void operator()(const T& field, const OptionInfo& info, const Range<R>&) {
    json_[info.key] = static_cast<R>(field);
  }
  template <class T, class R>
  void operator()(const std::optional<T>& field, const OptionInfo& info, const Range<R>&) {
    json_[info.key] = field ? io::Json(*field) : io::Json(nullptr);
  }
  void operator()(const std::optional<std::string>& field, const OptionInfo& info, const Syntax&) {
    json_[info.key] = field ? io::Json(*field) : io::Json(nullptr);
  }
  template <class Row>
  void operator()(const std::optional<Row>& field, const OptionInfo& info, const Choices<Row>&) {
    json_[info.key] = field ? io::Json(field->name) : io::Json(nullptr);
  }

 private:
  io::Json& json_;
};

class Reader {
 public:
  explicit Reader(const io::JsonObject& json) : json_(json) {}

  void operator()(std::string& field, const OptionInfo& info) {
    if (knows(info)) field = json_.get_string(info.key);
  }
  void operator()(bool& field, const OptionInfo& info) {
    if (knows(info)) field = json_.get_bool(info.key);
  }
  template <class T, class R>
  void operator()(T& field, const OptionInfo& info, const Range<R>& range) {
    if (knows(info)) field = static_cast<T>(number(info, range));
  }
  template <class T, class R>
  void operator()(std::optional<T>& field, const OptionInfo& info, const Range<R>& range) {
    if (knows(info) && json_.contains(info.key)) field = number(info, range);
  }
  void operator()(std::optional<std::string>& field, const OptionInfo& info, const Syntax& syntax) {
    if (!knows(info) || !json_.contains(info.key)) return;
    field = json_.get_string(info.key);
    try {
      syntax.check(*field);
    } catch (const Error& e) {
      throw Error(json_.source(), fmt::format("\"{}\": {}", info.key, e.what()));
    }
  }
  template <class Row>
  void operator()(std::optional<Row>& field, const OptionInfo& info, const Choices<Row>& choices) {
    if (!knows(info) || !json_.contains(info.key)) return;
    const std::string text = json_.get_string(info.key);
    const Row* row = diffusion::find_row(choices, text);
    if (!row) fail(info, diffusion::names_in(choices), io::in_quotes(text));
    field = *row;
  }

  void refuse_unknown_keys() const {
    for (const auto& item : json_.json().items())
      if (!known_.count(item.key()))
        throw Error(json_.source(),
                    fmt::format("{} is no option of this version of sfumato: go on with the "
                                "version that wrote it",
                                io::in_quotes(item.key())));
  }

 private:
  bool knows(const OptionInfo& info) {
    known_.insert(info.key);
    return json_.json().contains(info.key);
  }

  double number(const OptionInfo& info, const Reals& range) const {
    return checked(info, range, json_.get_number(info.key));
  }
  std::int64_t number(const OptionInfo& info, const Integers& range) const {
    return checked(info, range, json_.get_int(info.key));
  }
  template <class R>
  R checked(const OptionInfo& info, const Range<R>& range, R value) const {
    if (!(value >= range.low && value <= range.high))  // NaN is in no range
      fail(info, fmt::format("{}..{}", range.low, range.high), fmt::format("{}", value));
    return value;
  }
  [[noreturn]] void fail(const OptionInfo& info, const std::string& expected,
                         const std::string& got) const {
    throw Error(json_.source(),
                fmt::format("\"{}\": expected {}, got {}", info.key, expected, got));
  }

  const io::JsonObject& json_;
  std::set<std::string> known_;
};

std::string shown(const io::Json& value) { return value.is_null() ? "none" : value.dump(); }

const char* const kBudgets[] = {"minutes", "steps", "epochs"};

// Why --resume cannot change the option, by key.
class Fixed {
 public:
  template <class T, class... More>
  void operator()(const T&, const OptionInfo& info, const More&...) {
    if (info.fixed) why[info.key] = info.fixed;
  }
  std::map<std::string, std::string> why;
};

}  // namespace

std::string flag_of(std::string_view key) {
  std::string flag = "--" + std::string(key);
  for (char& c : flag)
    if (c == '_') c = '-';
  return flag;
}

io::Json to_json(const TrainOptions& o) {
  io::Json json = io::Json::object();
  visit_train_options(Writer(json), o);
  return json;
}

TrainOptions parse_train_options(const io::JsonObject& json) {
  TrainOptions o;
  o.optimizer = nn::Optimizer::adamw;  // of older runs, which do not say it
  json.get_string("data");             // every record says it: one that does not is damaged
  Reader reader(json);
  visit_train_options(reader, o);
  reader.refuse_unknown_keys();
  if (o.minutes.has_value() + o.steps.has_value() + o.epochs.has_value() > 1)
    throw Error(json.source(), "expected at most one of \"minutes\", \"steps\" and \"epochs\"");
  return o;
}

TrainOptions restate(const TrainOptions& recorded, const TrainOptions& asked,
                     std::vector<std::string>& notes) {
  const io::Json before = to_json(recorded), wanted = to_json(asked);
  Fixed fixed;
  visit_train_options(fixed, recorded);
  io::Json now = before;
  for (const std::string& key : asked.given) {
    if (!wanted.contains(key) || wanted.at(key) == before.at(key)) continue;
    if (const auto it = fixed.why.find(key); it != fixed.why.end())
      throw Error("train",
                  fmt::format("{} {}: the run in {} has {}, and --resume cannot change "
                              "it: {}; for a new run give --out instead of --resume",
                              flag_of(key), shown(wanted.at(key)), asked.resume,
                              before.at(key).is_null() ? "the default" : shown(before.at(key)),
                              it->second));
    for (const char* budget : kBudgets)  // one takes the place of another
      if (key == budget)
        for (const char* other : kBudgets) now[other] = nullptr;
    now[key] = wanted.at(key);
    notes.push_back(fmt::format("{}: {} -> {}", key, shown(before.at(key)), shown(wanted.at(key))));
  }
  return parse_train_options({now, "the command line"});
}

}  // namespace sfumato::apps
