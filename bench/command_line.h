// The options of a benchmark: `--name value`, `--name=value`, and of flags `--name`.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sfumato::bench {

// Each option writes into the variable given for it, whose value before parse() is the default.
class CommandLine {
 public:
  explicit CommandLine(std::string description) : description_(std::move(description)) {}

  void text(const char* name, std::string& value, const char* help);
  void flag(const char* name, bool& value, const char* help);
  // A number in low..high; a default outside it, which --help then does not show, stands for "not given".
  void number(const char* name, std::int64_t& value, std::int64_t low, std::int64_t high,
              const char* help);
  // One file, or one and more, that must be given and exist.
  void file(const char* name, std::string& value, const char* help);
  void files(const char* name, std::vector<std::string>& values, const char* help);

  // The exit status if the program ends here, after --help or a message on the standard error.
  std::optional<int> parse(int argc, char** argv);

 private:
  enum class Values { none, one, many };
  struct Option {
    std::string name, help;
    Values values;
    std::function<std::string(const std::string&)> take;  // what is wrong with a value; else empty
    bool required = false, given = false;
  };
  void print_help(const char* program) const;
  // What is wrong with the arguments, or empty.
  std::string take(const std::vector<std::string>& arguments);
  Option* find(const std::string& name);

  std::string description_;
  std::vector<Option> options_;
};

// Calls f. The exit status of the program: 1, and a message on the standard error, if f throws.
int status_of(const std::function<void()>& f);

}  // namespace sfumato::bench
