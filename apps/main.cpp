// The program: parses the command line and hands over. Exit codes: 0 done, 1 could not be done (one
// line says why), 2 the command line makes no sense.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <new>
#include <set>
#include <sstream>

#include "apps/machine.h"
#include "apps/notes.h"
#include "apps/options.h"
#include "apps/streams.h"
#include "apps/train_options.h"
#include "diffusion/names.h"
#include "tensor/io/file.h"
#include "tensor/parallel.h"

namespace {

using namespace sfumato;
using namespace sfumato::apps;

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

// An option whose values are the rows of a table, by either name; the help lists ours.
template <class Row>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, std::optional<Row>& field,
                        std::string help, Choices<Row> choices) {
  for (const Row* row : choices)
    help += fmt::format("{}{} ({})", row == choices.front() ? ": " : ", ", row->name, row->help);
  const auto set = [&field, choices](const std::string& name) {
    field = *diffusion::find_row(choices, name);
  };
  const auto check = [choices](const std::string& name) {
    return diffusion::find_row(choices, name)
               ? std::string()
               : fmt::format("expected one of {}, got '{}'", diffusion::names_in(choices), name);
  };
  return app.add_option_function<std::string>(flag, set, help)
      ->check(CLI::Validator(check, ""))
      ->type_name("NAME");
}

// Makes the options of `train` (train_options.h) options of the command line.
class Flags {
 public:
  explicit Flags(CLI::App& app) : app_(app) {}

  void operator()(std::string& field, const OptionInfo& info) {
    keep(info, app_.add_option(flag_of(info.key), field, info.help)->capture_default_str());
  }
  void operator()(bool& field, const OptionInfo& info) {
    keep(info, app_.add_flag(flag_of(info.key), field, info.help));
  }
  template <class T, class R>
  void operator()(T& field, const OptionInfo& info, const Range<R>& range) {
    auto* option = app_.add_option(flag_of(info.key), field, info.help)->check(in(range));
    keep(info, option->capture_default_str());
  }
  template <class T, class R>
  void operator()(std::optional<T>& field, const OptionInfo& info, const Range<R>& range) {
    keep(info, app_.add_option(flag_of(info.key), field, info.help)->check(in(range)));
  }
  void operator()(std::optional<std::string>& field, const OptionInfo& info, const Syntax& syntax) {
    keep(info, app_.add_option(flag_of(info.key), field, info.help)->check(of(syntax)));
  }
  template <class Row>
  void operator()(std::optional<Row>& field, const OptionInfo& info, const Choices<Row>& choices) {
    keep(info, add_choice(app_, flag_of(info.key), field, info.help, choices));
  }

  CLI::Option* operator[](const char* key) const { return options_.at(key); }
  // The keys of those that the command line (or --config) names.
  std::set<std::string> given() const {
    std::set<std::string> keys;
    for (const auto& [key, option] : options_)
      if (option->count() > 0) keys.insert(key);
    return keys;
  }

 private:
  static CLI::Validator in(const Reals& range) { return between(range.low, range.high); }
  static CLI::Validator in(const Integers& range) { return CLI::Range(range.low, range.high); }
  void keep(const OptionInfo& info, CLI::Option* option) { options_[info.key] = option; }

  CLI::App& app_;
  std::map<std::string, CLI::Option*> options_;
};

void add_train(CLI::App& app, TrainOptions& o) {
  auto* out =
      app.add_option("--out", o.out, "Folder for the run; a valid diffusers folder at any moment");
  auto* resume = app.add_option("--resume", o.resume,
                                "Go on with the run in this folder, with everything recorded "
                                "there; options given beside it are changed and recorded");
  out->excludes(resume);
  app.add_flag("--accept-data", o.accept_data,
               "Go on although the data are not those of the checkpoint")
      ->needs(resume);
  app.add_flag("--previous", o.previous, "Go on from the checkpoint before the newest")
      ->needs(resume);
  app.add_option("--stop-after", o.stop_after,
                 "End this process after that many steps, as Ctrl-C would")
      ->check(CLI::Range(std::int64_t{1}, kMaxSteps));
  Flags flags(app);
  visit_train_options(flags, o);
  flags["init"]->excludes(flags["model"]);
  flags["minutes"]->excludes(flags["steps"])->excludes(flags["epochs"]);
  flags["steps"]->excludes(flags["epochs"]);
  app.parse_complete_callback([&o, flags] { o.given = flags.given(); });
  app.footer("Example: sfumato train --out runs/mnist --minutes 5");
}

void add_clip(CLI::App& app, std::string& clip) {
  app.add_option("--clip", clip,
                 "An estimate of x_0 outside the data's range: on (cut off, and the noise computed "
                 "anew from it), diffusers (cut off, the network's noise kept), off (default: on "
                 "where the model's scheduler says clip_sample)")
      ->check(CLI::IsMember({"on", "diffusers", "off"}))
      ->type_name("NAME");
}

void add_sample(CLI::App& app, apps::SampleOptions& o) {
  using diffusion::Sampler;
  std::string steps;
  for (const Sampler* s : Sampler::all)
    steps += fmt::format("{}{} for {}", steps.empty() ? "" : ", ",
                         s->default_steps > 0 ? std::to_string(s->default_steps) : "all", s->name);
  app.add_option("--model", o.model, "Folder of a run, or any diffusers UNet2DModel folder")
      ->required();
  app.add_option("--out", o.out,
                 ".png: a grid; .gif: the denoising; step_%03d.png: the same as a series; .npy: "
                 "raw u8 [n,h,w]; a folder: single files")
      ->required();
  app.add_option("--count", o.count, "Number of pictures")->check(CLI::Range(1, 1 << 20));
  app.add_option(
      "--labels", o.labels,
      "Classes by name or number: 7, or cat,dog, or all; cycled over the count (default: "
      "all)");
  app.add_option("--size", o.size,
                 "Size of the pictures, H or H,W (default: that of the training pictures)");
  app.add_option("--steps", o.steps, fmt::format("Denoising steps (default: {})", steps))
      ->check(CLI::Range(1, 100000));
  add_choice<Sampler>(app, "--sampler", o.sampler, "How noise becomes a picture; default ddim",
                      Sampler::all);
  app.add_option("--eta", o.eta, "Noise in ddim's steps: 0 none, 1 as much as ddpm")
      ->check(between(0.0, 1.0))
      ->capture_default_str();
  add_clip(app, o.clip);
  app.add_option("--guidance", o.guidance,
                 "Classifier-free guidance; 1 is none (default: 2 where the model was trained for "
                 "it)")
      ->check(between(-100.0, 100.0));
  app.add_option("--null-label", o.null_label,
                 "The label that means 'no class', for models that do not say")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--seed", o.seed, "Seed of the noise")
      ->check(CLI::Range(std::int64_t{0}, INT64_MAX))
      ->capture_default_str();
  app.add_option("--batch", o.batch, "Pictures at a time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.footer("Example: sfumato sample --model runs/mnist --out sevens.png --labels 7 --count 16");
}

void add_predict(CLI::App& app, PredictOptions& o) {
  app.add_option("--model", o.model, "Folder of a run, or any diffusers UNet2DModel folder")
      ->required();
  app.add_option(
         "--in", o.in,
         "safetensors with sample [N,C,H,W], timestep [N], optionally class_labels [N], target")
      ->required();
  app.add_option("--out", o.out,
                 "safetensors to write: sample; with --grad also loss and grad.<parameter>")
      ->required();
  app.add_flag("--grad", o.grad, "Also the mean squared error against `target` and its gradients");
}

void add_info(CLI::App& app, InfoOptions& o) {
  app.add_option("--model", o.model, "Show this model's layers instead of the machine");
  app.add_flag("--json", o.json, "As JSON");
}

void add_evaluate(CLI::App& app, EvaluateOptions& o) {
  app.add_option("--model", o.model, "Folder of a run")->required();
  app.add_option("--data", o.data, "Labelled pictures with a test split, as `train` takes them")
      ->capture_default_str();
  app.add_option("--size", o.size, kSizeHelp)->check(of(kSize));
  app.add_option("--background", o.background, kBackgroundHelp)->check(of(kBackground));
  app.add_option("--count", o.count, "Pictures to draw for each row")
      ->check(CLI::Range(100, 1 << 20))
      ->capture_default_str();
  app.add_option("--steps", o.steps, "DDIM steps")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  add_clip(app, o.clip);
  app.add_option("--guidance", o.guidance,
                 "Only this guidance (default: 1, and 2 where the model was trained for it)")
      ->check(between(-100.0, 100.0));
  app.add_option("--seed", o.seed, "Seed of the noise")
      ->check(CLI::Range(std::int64_t{0}, INT64_MAX))
      ->capture_default_str();
  app.add_option("--classifier", o.classifier,
                 "Weights of the classifier; trained and written there if missing (default: in "
                 "~/.cache/sfumato)");
  app.add_flag("--json", o.json, "As JSON");
}

int run(int argc, char** argv) {
  CLI::App app{"sfumato: diffusion models from scratch, in C++", "sfumato"};
  app.require_subcommand(0, 1);  // asked for below: an unknown word is then named
  app.set_version_flag("--version", std::string("sfumato ") + kVersion);
  std::optional<int> threads;
  TrainOptions train_options;
  apps::SampleOptions sample_options;
  PredictOptions predict_options;
  InfoOptions info_options;
  apps::EvaluateOptions evaluate_options;
  auto* train_app = app.add_subcommand("train", "Train a diffusion U-Net");
  auto* sample_app = app.add_subcommand("sample", "Draw pictures with a trained model");
  auto* predict_app = app.add_subcommand("predict", "Run the bare network on tensors in a file");
  auto* info_app = app.add_subcommand("info", "Describe this program and machine, or a model");
  auto* evaluate_app = app.add_subcommand(
      "evaluate", "Rate a model's pictures: classifier agreement, distance from real ones");
  add_train(*train_app, train_options);
  add_sample(*sample_app, sample_options);
  add_predict(*predict_app, predict_options);
  add_info(*info_app, info_options);
  add_evaluate(*evaluate_app, evaluate_options);
  for (CLI::App* sub : {train_app, sample_app, predict_app, info_app, evaluate_app}) {
    sub->add_option("--threads", threads, "Threads to use (default: all cores)")
        ->check(CLI::Range(1, 1024));
    sub->add_option_function<std::string>(
           "--config", [sub](const std::string& file) { read_config(*sub, file); },
           "Read options from this file (name = value lines)")
        ->check(CLI::ExistingFile)
        ->configurable(false);
    // An unset shell variable must not pass as the default.
    for (CLI::Option* option : sub->get_options())
      option->check([](const std::string& s) {
        return s.empty() ? std::string("expected a value, got nothing") : "";
      });
  }
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty())
      throw CLI::RequiredError("train, sample, evaluate, predict or info");
    if (train_app->parsed() && train_options.out.empty() == train_options.resume.empty())
      throw CLI::RequiredError("--out DIR or --resume DIR");
  } catch (const CLI::ParseError& e) {
    std::ostringstream out, err;
    const bool answered = app.exit(e, out, err) == 0;  // --help, --version
    complain(io::printable_lines(err.str()));
    fmt::print("{}", out.str());
    return answered ? 0 : 2;
  }
  if (threads) set_thread_count(*threads);
  if (train_app->parsed()) train(train_options);
  if (sample_app->parsed()) sample(sample_options);
  if (predict_app->parsed()) predict(predict_options);
  if (info_app->parsed()) info(info_options);
  if (evaluate_app->parsed()) evaluate(evaluate_options);
  if (const int got = thread_count(); threads && got < *threads)
    print_notes({fmt::format("the system let only {} of {} threads start", got, *threads)});
  return 0;
}

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
    const int code = run(argc, argv);
    flush_output();
    return code;
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
  } catch (const std::exception& e) {
    print_error(e.what());
  }
  return 1;
}
