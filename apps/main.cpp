// The program: the table of its subcommands. Exit codes: 0 done, 1 could not be done (one line says why), 2 the command
// line makes no sense.
#include <cstdio>
#include <exception>
#include <functional>
#include <new>

#include "apps/command_line.h"
#include "apps/streams.h"
#include "tensor/io/text.h"

namespace sfumato::apps {

// Each in a file of its own: train.cpp, ...
RunSubcommand declare_train(CommandLine& line);
RunSubcommand declare_sample(CommandLine& line);
RunSubcommand declare_edit(CommandLine& line);
RunSubcommand declare_evaluate(CommandLine& line);
RunSubcommand declare_predict(CommandLine& line);
RunSubcommand declare_convert(CommandLine& line);
RunSubcommand declare_info(CommandLine& line);
RunSubcommand declare_lab(CommandLine& line);
RunSubcommand declare_lesson(CommandLine& line);
RunSubcommand declare_toy(CommandLine& line);

namespace {

constexpr Subcommand kSubcommands[] = {
    {"train", "Train a diffusion model", declare_train},
    {"sample", "Draw pictures with a trained model", declare_sample},
    {"edit", "Change pictures with a trained model: inpaint, vary, interpolate, ...", declare_edit},
    {"evaluate", "Judge a model's pictures: read as asked? how far from real?", declare_evaluate},
    {"predict", "Run the bare network on tensors in a file", declare_predict},
    {"convert", "Take a model of lucidrains' package or an old diffusers folder", declare_convert},
    {"info", "Describe this program and machine, or a model", declare_info},
    {"lab", "Answer a question with an experiment: a table and a picture", declare_lab},
    {"toy", "Watch samplers on points in the plane, where the truth is known", declare_toy},
    {"lesson", "Make the page that teaches diffusion with a model of yours", declare_lesson},
};

}  // namespace
}  // namespace sfumato::apps

namespace {

using namespace sfumato;
using namespace sfumato::apps;

// Before the libraries' static objects, which need memory too.
[[gnu::constructor(101)]] void prepare() { exit_when_out_of_memory(); }

// What cannot be printed must not become another exception.
void print_error(const char* what) noexcept {
  try {
    std::fprintf(stderr, "sfumato: %s\n", io::printable(what).c_str());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "sfumato: out of memory\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  prepare_streams();
  try {
    const int code = run_command_line(argc, argv, kSubcommands);
    flush_output();
    return code;
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
  } catch (const std::exception& e) {
    print_error(e.what());
  }
  return 1;
}
