// The command line of the program: a table of subcommands, each with options of its own. CLI11 parses it, in
// command_line.cpp alone.
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "apps/option.h"
#include "diffusion/names.h"
#include "tensor/device.h"

namespace sfumato::apps {

// The options of one subcommand. Each call adds one that writes into `field`, whose value before is the default.
class CommandLine {
 public:
  struct Parser;
  explicit CommandLine(std::unique_ptr<Parser> parser);
  ~CommandLine();

  void operator()(std::string& field, const OptionInfo& info);
  void operator()(bool& field, const OptionInfo& info);
  void operator()(std::int64_t& field, const OptionInfo& info, const Integers& range);
  void operator()(std::uint64_t& field, const OptionInfo& info, const Integers& range);
  void operator()(double& field, const OptionInfo& info, const Reals& range);
  void operator()(std::optional<std::int64_t>& field, const OptionInfo& info,
                  const Integers& range);
  void operator()(std::optional<double>& field, const OptionInfo& info, const Reals& range);
  void operator()(std::optional<std::string>& field, const OptionInfo& info, const Syntax& syntax);
  // One of the words.
  void operator()(std::string& field, const OptionInfo& info,
                  std::initializer_list<const char*> words);
  // A word without a flag; empty where it is left out.
  void positional(std::string& field, const OptionInfo& info);
  // A row of a table, by either name; the help lists ours.
  template <class Row>
  void operator()(std::optional<Row>& field, const OptionInfo& info, const Choices<Row>& choices) {
    choice(listing(info, choices), diffusion::names_in(choices),
           [&field, choices](const std::string& name) {
             const Row* row = diffusion::find_row(choices, name);
             if (row) field = *row;
             return row ? std::nullopt : std::optional(name);
           });
  }
  // A value of an enumeration, by its name.
  template <class E, std::size_t n>
  void operator()(std::optional<E>& field, OptionInfo info,
                  const diffusion::EnumName<E> (&table)[n]) {
    info.help += ": " + diffusion::names_in(table);
    choice(info, diffusion::names_in(table),
           [&field, &table](const std::string& name) -> std::optional<std::string> {
             const auto* row = diffusion::find_row(table, name);
             if (!row) return name;
             field = row->value;
             return {};
           });
  }
  // Rows of a table, their names with commas between.
  template <class Row>
  void operator()(std::vector<Row>& field, const OptionInfo& info, const Choices<Row>& choices) {
    choice(listing(info, choices), diffusion::names_in(choices),
           [&field, choices](const std::string& names) -> std::optional<std::string> {
             std::vector<Row> rows;
             for (const std::string& name : names_of(names)) {
               const Row* row = diffusion::find_row(choices, name);
               if (!row) return name;
               rows.push_back(*row);
             }
             field = std::move(rows);
             return {};
           });
  }

  // By keys.
  void required(std::initializer_list<const char*> keys);
  void excludes(const char* key, std::initializer_list<const char*> others);
  void needs(const char* key, const char* other);
  void needs_one_of(std::initializer_list<const char*> keys, const char* shown);
  void example(const std::string& text);

  // The keys of the options that the command line, or the file of --config, names. Known when the subcommand runs.
  std::set<std::string> given() const;
  const Parser& parser() const { return *parser_; }

 private:
  template <class Row>
  static OptionInfo listing(OptionInfo info, const Choices<Row>& choices) {
    for (const Row* row : choices)
      info.help += std::string(row == choices.front() ? ": " : ", ") + std::string(row->name) +
                   " (" + std::string(row->help) + ")";
    return info;
  }
  static std::vector<std::string> names_of(const std::string& text);  // between the commas

  // `take` writes the rows that the text names into the field, or returns a name that no row has.
  void choice(const OptionInfo& info, const std::string& names,
              const std::function<std::optional<std::string>(const std::string&)>& take);

  std::unique_ptr<Parser> parser_;
};

// Runs a subcommand with the values that the command line gave its options, on the device of --device. Throws Error for
// what cannot be done.
using RunSubcommand = std::function<void(Device device)>;

struct Subcommand {
  const char *name, *help;
  // Declares the options. (--device, --threads and --config are declared for all.)
  RunSubcommand (*declare)(CommandLine& line);
};

// Parses, and runs the subcommand unless `dry`. The exit status: 0 done, 2 for a command line that makes no sense.
int run_command_line(int argc, const char* const* argv, std::span<const Subcommand> subcommands,
                     bool dry = false);

}  // namespace sfumato::apps
