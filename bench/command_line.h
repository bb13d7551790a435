// The options of a benchmark. CLI11 parses them in command_line.cpp alone: it takes longer to compile than a benchmark.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sfumato::bench {

// Each option writes into the variable given for it, whose value before parse() is the default.
class CommandLine {
 public:
  explicit CommandLine(const std::string& description);
  ~CommandLine();

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
  struct App;
  std::unique_ptr<App> app_;
};

}  // namespace sfumato::bench
