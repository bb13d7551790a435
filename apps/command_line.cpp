#include "apps/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "apps/labels.h"
#include "apps/machine.h"
#include "apps/notes.h"
#include "apps/streams.h"
#include "tensor/io/file.h"
#include "tensor/parallel.h"

namespace sfumato::apps {
namespace {

// CLI::Range for numbers that may be NaN, which is not in any.
CLI::Validator between(double low, double high) {
  return CLI::Validator(
      [=](const std::string& text) {
        double value = 0;
        const bool in = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
        return in ? std::string()
                  : fmt::format("expected a number in {}..{}, got '{}'", low, high, text);
      },
      fmt::format("in {}..{}", low, high));
}

// The text of a configuration file. Its lines are limited because CLI11 takes time quadratic in the
// length of a name with dots.
std::string read_config_text(const std::string& path) {
  constexpr std::size_t kMaxBytes = 1 << 20, kMaxLine = 1 << 14;
  std::string text = io::read_file(path, kMaxBytes);
  for (std::size_t at = 0, line = 1; at < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view content(text.data() + at, end - at);
    const std::size_t first = std::min(content.find_first_not_of(" \t"), content.size());
    if (content.size() > kMaxLine || content.find('\0') != std::string_view::npos ||
        content.substr(first).starts_with('['))
      throw CLI::ConfigError(fmt::format("{}: line {}: expected name = value, got {}", path, line,
                                         io::in_quotes(content)));
    at = end + 1;
  }
  return text;
}

// The file of --config: `name = value` lines, one an option of `app`. The command line goes first.
void read_config(CLI::App& app, const std::string& path) {
  std::istringstream text(read_config_text(path));
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(text)) {
    CLI::Option* option =
        item.parents.empty() ? app.get_option_no_throw("--" + item.name) : nullptr;
    if (!option || !option->get_configurable())
      throw CLI::ConfigError(fmt::format("{}: {} is not an option of {}", path,
                                         io::in_quotes(item.fullname()), app.get_name()));
    if (!option->empty()) continue;
    option->add_result(fmt::format("{}", fmt::join(item.inputs, ",")));
    option->run_callback();
  }
}

CLI::Validator of(const Syntax& syntax) {
  return CLI::Validator(
      [syntax](const std::string& text) {
        try {
          syntax.check(text);
        } catch (const Error& e) {
          return std::string(e.what());
        }
        return std::string();
      },
      "");
}

CLI::Validator in(const Reals& range) { return between(range.low, range.high); }
CLI::Validator in(const Integers& range) { return CLI::Range(range.low, range.high); }

}  // namespace

struct CommandLine::Parser {
  CLI::App& app;
  std::map<std::string, CLI::Option*> options;  // by key
  std::vector<std::string> one_of;              // keys, one of which must be given
  std::string one_of_shown;

  template <class Field>
  CLI::Option* add(Field& field, const OptionInfo& info) {
    return options[info.key] = app.add_option(flag_of(info.key), field, info.help);
  }
  void check() const {
    const auto is_given = [&](const std::string& key) { return options.at(key)->count() > 0; };
    if (!one_of.empty() && std::none_of(one_of.begin(), one_of.end(), is_given))
      throw CLI::RequiredError(one_of_shown);
  }
};

CommandLine::CommandLine(std::unique_ptr<Parser> parser) : parser_(std::move(parser)) {}
CommandLine::~CommandLine() = default;

void CommandLine::operator()(std::string& field, const OptionInfo& info) {
  parser_->add(field, info)->capture_default_str();
}
void CommandLine::operator()(bool& field, const OptionInfo& info) {
  parser_->options[info.key] = parser_->app.add_flag(flag_of(info.key), field, info.help);
}
void CommandLine::operator()(std::int64_t& field, const OptionInfo& info, const Integers& range) {
  parser_->add(field, info)->check(in(range))->capture_default_str();
}
void CommandLine::operator()(std::uint64_t& field, const OptionInfo& info, const Integers& range) {
  parser_->add(field, info)->check(in(range))->capture_default_str();
}
void CommandLine::operator()(double& field, const OptionInfo& info, const Reals& range) {
  parser_->add(field, info)->check(in(range))->capture_default_str();
}
void CommandLine::operator()(std::optional<std::int64_t>& field, const OptionInfo& info,
                             const Integers& range) {
  parser_->add(field, info)->check(in(range));
}
void CommandLine::operator()(std::optional<double>& field, const OptionInfo& info,
                             const Reals& range) {
  parser_->add(field, info)->check(in(range));
}
void CommandLine::operator()(std::optional<std::string>& field, const OptionInfo& info,
                             const Syntax& syntax) {
  parser_->add(field, info)->check(of(syntax));
}
void CommandLine::operator()(std::string& field, const OptionInfo& info,
                             std::initializer_list<const char*> words) {
  const std::vector<std::string> allowed(words.begin(), words.end());
  parser_->add(field, info)->check(CLI::IsMember(allowed))->type_name("NAME");
}

void CommandLine::positional(std::string& field, const OptionInfo& info) {
  parser_->options[info.key] = parser_->app.add_option(info.key, field, info.help);
}

std::vector<std::string> CommandLine::names_of(const std::string& text) {
  return split_at_commas(text);
}

void CommandLine::choice(
    const OptionInfo& info, const std::string& names,
    const std::function<std::optional<std::string>(const std::string&)>& take) {
  const auto check = [take, names](const std::string& text) {
    const std::optional<std::string> unknown = take(text);
    return unknown ? fmt::format("expected one of {}, got '{}'", names, *unknown) : std::string();
  };
  parser_->options[info.key] = parser_->app
                                   .add_option_function<std::string>(
                                       flag_of(info.key), [](const std::string&) {}, info.help)
                                   ->check(CLI::Validator(check, ""))
                                   ->type_name("NAME");
}

void CommandLine::required(std::initializer_list<const char*> keys) {
  for (const char* key : keys) parser_->options.at(key)->required();
}
void CommandLine::excludes(const char* key, std::initializer_list<const char*> others) {
  for (const char* other : others) parser_->options.at(key)->excludes(parser_->options.at(other));
}
void CommandLine::needs(const char* key, const char* other) {
  parser_->options.at(key)->needs(parser_->options.at(other));
}
void CommandLine::needs_one_of(std::initializer_list<const char*> keys, const char* shown) {
  parser_->one_of.assign(keys.begin(), keys.end());
  parser_->one_of_shown = shown;
}
void CommandLine::example(const std::string& text) { parser_->app.footer("Example: " + text); }

std::set<std::string> CommandLine::given() const {
  std::set<std::string> keys;
  for (const auto& [key, option] : parser_->options)
    if (option->count() > 0) keys.insert(key);
  return keys;
}

namespace {

// A subcommand, its options, and what runs it.
struct Declared {
  CLI::App* app;
  std::unique_ptr<CommandLine> line;
  RunSubcommand run;
};

void expect_device_name(std::string_view text) {
  const bool number = text.starts_with("cuda:") && text.size() > 5 && text.size() < 9 &&
                      text.find_first_not_of("0123456789", 5) == text.npos;
  if (text != "cpu" && text != "auto" && text != "cuda" && !number)
    throw Error("device",
                fmt::format("expected cpu, cuda, cuda:N or auto, got {}", io::in_quotes(text)));
}

// What every subcommand is told.
struct Machine {
  std::optional<int> threads;
  std::string device = "cpu";
};

Declared declare(CLI::App& app, const Subcommand& subcommand, Machine& machine) {
  Declared d{app.add_subcommand(subcommand.name, subcommand.help), nullptr, nullptr};
  d.line = std::make_unique<CommandLine>(
      std::make_unique<CommandLine::Parser>(CommandLine::Parser{*d.app, {}, {}, {}}));
  d.run = subcommand.declare(*d.line);
  d.app->add_option("--threads", machine.threads, "Threads to use (default: all cores)")
      ->check(CLI::Range(1, 1024));
  d.app
      ->add_option("--device", machine.device,
                   "Where to compute: cpu, cuda (a GPU), cuda:N (another one), or auto (a GPU if "
                   "one can be used)")
      ->check(of(Syntax{expect_device_name}))
      ->capture_default_str();
  d.app
      ->add_option_function<std::string>(
          "--config", [sub = d.app](const std::string& file) { read_config(*sub, file); },
          "Read options from this file (name = value lines)")
      ->check(CLI::ExistingFile)
      ->configurable(false);
  // An unset shell variable must not pass as the default.
  for (CLI::Option* option : d.app->get_options())
    option->check([](const std::string& s) {
      return s.empty() ? std::string("expected a value, got nothing") : "";
    });
  return d;
}

// "train, sample or info"
std::string listed(std::span<const Subcommand> subcommands) {
  std::string list;
  for (std::size_t i = 0; i < subcommands.size(); ++i)
    list += std::string(i == 0                       ? ""
                        : i + 1 < subcommands.size() ? ", "
                                                     : " or ") +
            subcommands[i].name;
  return list;
}

Device chosen_device(const std::string& name) {
  if (name != "auto") return use_device(name);
  try {
    return use_device("cuda");
  } catch (const Error& e) {
    print_notes({fmt::format("{}: the CPU computes", e.what())});
    return Device::cpu;
  }
}

}  // namespace

int run_command_line(int argc, const char* const* argv, std::span<const Subcommand> subcommands,
                     bool dry) {
  CLI::App app{"sfumato: diffusion models from scratch, in C++", "sfumato"};
  app.require_subcommand(0, 1);  // asked for below: an unknown word is then named
  app.set_version_flag("--version", std::string("sfumato ") + kVersion);
  Machine machine;
  std::vector<Declared> all;
  for (const Subcommand& subcommand : subcommands) all.push_back(declare(app, subcommand, machine));
  const Declared* chosen = nullptr;
  try {
    app.parse(argc, argv);
    for (const Declared& d : all)
      if (d.app->parsed()) chosen = &d;
    if (!chosen) throw CLI::RequiredError(listed(subcommands));
    chosen->line->parser().check();
  } catch (const CLI::ParseError& e) {
    std::ostringstream out, err;
    const bool answered = app.exit(e, out, err) == 0;  // --help, --version
    complain(io::printable_lines(err.str()));
    fmt::print("{}", out.str());
    return answered ? 0 : 2;
  }
  const std::optional<int>& asked = machine.threads;
  if (asked) set_thread_count(*asked);
  if (!dry) chosen->run(chosen_device(machine.device));
  if (const int got = thread_count(); asked && got < *asked)
    print_notes({fmt::format("the system let only {} of {} threads start", got, *asked)});
  return 0;
}

}  // namespace sfumato::apps
