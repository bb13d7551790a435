#include "bench/command_line.h"

#include <CLI/CLI.hpp>

namespace sfumato::bench {

struct CommandLine::App : CLI::App {
  using CLI::App::App;
};

CommandLine::CommandLine(const std::string& description)
    : app_(std::make_unique<App>(description)) {}
CommandLine::~CommandLine() = default;

void CommandLine::text(const char* name, std::string& value, const char* help) {
  CLI::Option* option = app_->add_option(name, value, help);
  if (!value.empty()) option->capture_default_str();
}

void CommandLine::flag(const char* name, bool& value, const char* help) {
  app_->add_flag(name, value, help);
}

void CommandLine::number(const char* name, std::int64_t& value, std::int64_t low, std::int64_t high,
                         const char* help) {
  CLI::Option* option = app_->add_option(name, value, help)->check(CLI::Range(low, high));
  if (low <= value && value <= high) option->capture_default_str();
}

void CommandLine::file(const char* name, std::string& value, const char* help) {
  app_->add_option(name, value, help)->required()->check(CLI::ExistingFile);
}

void CommandLine::files(const char* name, std::vector<std::string>& values, const char* help) {
  app_->add_option(name, values, help)->required()->check(CLI::ExistingFile);
}

std::optional<int> CommandLine::parse(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app_->exit(e);
  }
  return std::nullopt;
}

}  // namespace sfumato::bench
