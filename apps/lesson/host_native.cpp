// The lesson's functions as a program, for the test that compares them with the browser's: a request a line on standard
// input, a line for each part {"part": ...} and for the answer on standard output. Argument: the folder with model/ and
// pictures/.
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "apps/lesson/bridge.h"

namespace sfumato::lesson {

void emit(const Json& part) { std::cout << Json{{"part", part}}.dump() << '\n'; }

}  // namespace sfumato::lesson

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: lesson_native FOLDER < REQUESTS\n");
    return 2;
  }
  std::filesystem::current_path(argv[1]);
  for (std::string request; std::getline(std::cin, request);)
    std::cout << sfumato::lesson::answer(request) << std::endl;
}
