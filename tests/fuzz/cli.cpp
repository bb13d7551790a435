// The command line. First byte even: the rest is a --config file of `train`; odd: the rest is
// words, separated by NUL. The subcommands do not run.
#include <vector>

#include "tests/fuzz/common.h"
#define main sfumato_main  // libFuzzer has its own
#include "apps/main.cpp"   // NOLINT(bugprone-suspicious-include)
#undef main

using namespace sfumato;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  fuzz::require(std::freopen("/dev/null", "w", stdout) != nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  std::string_view rest = fuzz::as_text(data + 1, size - 1);
  std::vector<std::string> words = {"sfumato"};
  if (data[0] % 2 == 0) {
    for (const char* word : {"train", "--out", "run", "--config"}) words.emplace_back(word);
    words.push_back(fuzz::put("config", rest));
  } else {
    for (std::size_t end; (end = rest.find('\0')) != std::string_view::npos;) {
      words.emplace_back(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    words.emplace_back(rest);
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int code = 0;
  fuzz::accepted([&] {
    code = apps::run_command_line(static_cast<int>(words.size()), argv.data(), apps::kSubcommands,
                                  /*dry=*/true);
  });
  fuzz::require(code == 0 || code == 2);
  return 0;
}
