#include "bench/command_line.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <exception>
#include <filesystem>

namespace sfumato::bench {
namespace {

std::string with_default(const char* help, const std::string& value) {
  return value.empty() ? help : fmt::format("{} [{}]", help, value);
}

std::string existing(const std::string& path) {
  return std::filesystem::is_regular_file(path) ? "" : fmt::format("no such file: {}", path);
}

}  // namespace

void CommandLine::text(const char* name, std::string& value, const char* help) {
  const auto take = [&value](const std::string& given) {
    value = given;
    return std::string();
  };
  options_.push_back({name, with_default(help, value), Values::one, take});
}

void CommandLine::flag(const char* name, bool& value, const char* help) {
  const auto take = [&value](const std::string&) {
    value = true;
    return std::string();
  };
  options_.push_back({name, help, Values::none, take});
}

void CommandLine::number(const char* name, std::int64_t& value, std::int64_t low, std::int64_t high,
                         const char* help) {
  const auto take = [&value, low, high](const std::string& given) {
    const char* const end = given.data() + given.size();
    const auto [stop, error] = std::from_chars(given.data(), end, value);
    if (error == std::errc() && stop == end && low <= value && value <= high) return std::string();
    return fmt::format("expected a whole number in {}..{}, got '{}'", low, high, given);
  };
  const bool shown = low <= value && value <= high;
  options_.push_back(
      {name, with_default(help, shown ? std::to_string(value) : ""), Values::one, take});
}

void CommandLine::file(const char* name, std::string& value, const char* help) {
  const auto take = [&value](const std::string& given) {
    value = given;
    return existing(given);
  };
  options_.push_back({name, help, Values::one, take, true});
}

void CommandLine::files(const char* name, std::vector<std::string>& values, const char* help) {
  const auto take = [&values](const std::string& given) {
    values.push_back(given);
    return existing(given);
  };
  options_.push_back({name, help, Values::many, take, true});
}

CommandLine::Option* CommandLine::find(const std::string& name) {
  for (Option& option : options_)
    if (option.name == name) return &option;
  return nullptr;
}

std::string CommandLine::take(const std::vector<std::string>& arguments) {
  const auto is_value = [&](std::size_t i) {
    return i < arguments.size() && !arguments[i].starts_with("--");
  };
  for (std::size_t i = 0; i < arguments.size();) {
    std::string name = arguments[i++];
    std::vector<std::string> values;
    if (const std::size_t equals = name.find('='); equals != std::string::npos) {
      values.push_back(name.substr(equals + 1));
      name.resize(equals);
    }
    Option* const option = find(name);
    if (option == nullptr) return fmt::format("there is no option {}", name);
    option->given = true;
    const bool many = option->values == Values::many;
    while (is_value(i) && (many || (option->values == Values::one && values.empty())))
      values.push_back(arguments[i++]);
    if (values.empty() == (option->values != Values::none))
      return fmt::format("{}: expected {}", name, values.empty() ? "a value" : "no value");
    if (option->values == Values::none) values.emplace_back();
    for (const std::string& value : values)
      if (const std::string problem = option->take(value); !problem.empty())
        return fmt::format("{}: {}", name, problem);
  }
  for (const Option& option : options_)
    if (option.required && !option.given) return fmt::format("{} is missing", option.name);
  return {};
}

void CommandLine::print_help(const char* program) const {
  fmt::print("{}\nUsage: {} [options]\n", description_, program);
  for (const Option& option : options_)
    fmt::print("  {:<14} {}{}\n", option.name, option.help, option.required ? " (required)" : "");
}

std::optional<int> CommandLine::parse(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const std::string& argument : arguments) {
    if (argument != "--help" && argument != "-h") continue;
    print_help(argv[0]);
    return 0;
  }
  const std::string problem = take(arguments);
  if (problem.empty()) return std::nullopt;
  fmt::print(stderr, "{} (--help lists the options)\n", problem);
  return 2;
}

int status_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  return 0;
}

}  // namespace sfumato::bench
