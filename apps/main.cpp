// The program: parses the command line and hands over. Exit codes: 0 done, 1 could not be done (one
// line says why), 2 the command line makes no sense.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <new>

#include "apps/machine.h"
#include "apps/options.h"
#include "tensor/parallel.h"

namespace {

using namespace sfumato;
using namespace sfumato::apps;

constexpr std::int64_t kMany = std::int64_t{1} << 40;

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

// The file of --config: `name = value` lines, one an option of `app`. The command line goes first.
void read_config(CLI::App& app, const std::string& path) {
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_file(path)) {
    if (!item.parents.empty())
      throw CLI::ConfigError(fmt::format("{}: expected name = value lines, got {}", path,
                                         io::in_quotes(item.fullname())));
    CLI::Option* option = app.get_option_no_throw("--" + item.name);
    if (!option || !option->get_configurable())
      throw CLI::ConfigError(fmt::format("{}: {} is not an option of {}", path,
                                         io::in_quotes(item.name), app.get_name()));
    if (!option->empty()) continue;
    option->add_result(fmt::format("{}", fmt::join(item.inputs, ",")));
    option->run_callback();
  }
}

template <class E>
CLI::Option* add_enum(CLI::App& app, const std::string& flags, std::optional<E>& target,
                      std::initializer_list<std::pair<const char*, E>> values,
                      const std::string& help) {
  std::map<std::string, E> names(values.begin(), values.end());
  std::string list;
  for (const auto& [name, value] : values) list += (list.empty() ? "" : "|") + std::string(name);
  return app
      .add_option_function<std::string>(
          flags, [&target, names](const std::string& s) { target = names.at(s); },
          help + " (" + list + ")")
      ->check(CLI::IsMember(names))
      ->type_name("NAME");
}

void add_train(CLI::App& app, TrainOptions& o) {
  using diffusion::BetaSchedule;
  using diffusion::Prediction;
  auto* out =
      app.add_option("--out", o.out, "Folder for the run; a valid diffusers folder at any moment");
  auto* resume = app.add_option(
      "--resume", o.resume, "Go on with the run in this folder, with everything recorded there");
  out->excludes(resume);
  app.add_option("--data", o.data,
                 "IDX pair, folder of PNG/JPEG files (sub-folders are classes), or .npy; default: "
                 "the bundled MNIST");
  app.add_flag("--pad", o.pad,
               "Add a black border to pictures whose size the network cannot halve");
  app.add_flag("--recompute", o.recompute,
               "Less memory, more time: the insides of blocks are computed twice");
  auto* model = app.add_option("--model", o.model,
                               "tiny, small, base, or a diffusers UNet2DModel config.json")
                    ->capture_default_str();
  app.add_option("--init", o.init, "Start from the weights of this diffusers folder")
      ->excludes(model);
  auto* minutes = app.add_option("--minutes", o.minutes, "Train this long (default: 5)")
                      ->check(between(1e-3, 1e7));
  auto* steps = app.add_option("--steps", o.steps, "Train this many steps in all")
                    ->check(CLI::Range(std::int64_t{1}, kMany));
  auto* epochs = app.add_option("--epochs", o.epochs, "Train this many passes over the data")
                     ->check(CLI::Range(std::int64_t{1}, kMany >> 20));
  minutes->excludes(steps)->excludes(epochs);
  steps->excludes(epochs);
  app.add_option("--stop-after", o.stop_after,
                 "End this process after that many steps, as Ctrl-C would")
      ->check(CLI::Range(std::int64_t{1}, kMany));
  app.add_option("--batch", o.batch, "Pictures a step")
      ->check(CLI::Range(std::int64_t{1}, kMaxBatch))
      ->capture_default_str();
  app.add_option("--lr", o.lr, "Learning rate, reached after the warm-up")
      ->check(between(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--lr-floor", o.lr_floor, "Share of --lr that the cosine ends at")
      ->check(between(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--warmup", o.warmup, "Steps of linear warm-up")
      ->check(CLI::Range(std::int64_t{0}, kMany))
      ->capture_default_str();
  app.add_option("--beta1", o.beta1, "AdamW's first moment")
      ->check(between(0.0, 0.999999))
      ->capture_default_str();
  app.add_option("--beta2", o.beta2, "AdamW's second moment")
      ->check(between(0.0, 0.999999))
      ->capture_default_str();
  app.add_option("--weight-decay", o.weight_decay, "AdamW's decoupled weight decay")
      ->check(between(0.0, 1e3))
      ->capture_default_str();
  app.add_option("--clip", o.clip, "Largest norm of the gradient")
      ->check(between(1e-9, 1e9))
      ->capture_default_str();
  app.add_option("--ema", o.ema, "Decay of the weights' moving average (warmed up)")
      ->check(between(0.0, 0.9999999))
      ->capture_default_str();
  app.add_option("--label-dropout", o.label_dropout, "Share of labels hidden, for guidance")
      ->check(between(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--dropout", o.dropout, "Dropout in the residual blocks")
      ->check(between(0.0, 0.999));
  add_enum<Prediction>(app, "--prediction", o.prediction,
                       {{"eps", Prediction::eps}, {"x0", Prediction::x0}, {"v", Prediction::v}},
                       "What the network predicts; default v");
  add_enum<BetaSchedule>(app, "--schedule", o.schedule,
                         {{"linear", BetaSchedule::linear},
                          {"scaled_linear", BetaSchedule::scaled_linear},
                          {"cosine", BetaSchedule::cosine}},
                         "Noise schedule; default cosine");
  app.add_option("--timesteps", o.timesteps, "Length T of the noise schedule; default 1000")
      ->check(CLI::Range(std::int64_t{2}, kMaxTimesteps));
  app.add_option("--seed", o.seed, "Seed of everything random")
      ->check(CLI::Range(std::int64_t{0}, INT64_MAX))
      ->capture_default_str();
  app.add_option("--sample-every", o.sample_every,
                 "Seconds between sample grids; 0: only at the end")
      ->check(between(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--checkpoint-every", o.checkpoint_every, "Seconds between checkpoints")
      ->check(between(0.0, 1e9))
      ->capture_default_str();
  // Everything that --resume takes from the record instead.
  for (CLI::Option* option : app.get_options())
    if (const std::string& name = option->get_name();
        name != "--help" && name != "--out" && name != "--resume" && name != "--stop-after")
      resume->excludes(option);
  app.footer("Example: sfumato train --out runs/mnist --minutes 5");
}

void add_sample(CLI::App& app, apps::SampleOptions& o) {
  using diffusion::Method;
  app.add_option("--model", o.model, "Folder of a run, or any diffusers UNet2DModel folder")
      ->required();
  app.add_option("--out", o.out,
                 ".png: a grid; .gif: the denoising; step_%03d.png: the same as a series; .npy: "
                 "raw u8 [n,h,w]; a folder: single files")
      ->required();
  app.add_option("--count", o.count, "Number of pictures")->check(CLI::Range(1, 1 << 20));
  app.add_option("--labels", o.labels,
                 "Classes: 7, or 0,1,2, or all; cycled over the count (default: all)");
  app.add_option("--steps", o.steps, "Denoising steps (default: 20 for ddim, all for ddpm)")
      ->check(CLI::Range(1, 100000));
  app.add_option_function<std::string>(
         "--sampler", [&o](const std::string& s) { o.sampler = diffusion::parse_method(s); },
         "ddim (default) or ddpm")
      ->check(CLI::IsMember({"ddpm", "ddim"}))
      ->type_name("NAME");
  app.add_option("--eta", o.eta, "Noise in ddim's steps: 0 none, 1 as much as ddpm")
      ->check(between(0.0, 1.0))
      ->capture_default_str();
  app.add_option(
         "--guidance", o.guidance,
         "Classifier-free guidance; 1 is none (default: 2 where the model was trained for it and "
         "does not predict eps)")
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
  app.add_option("--count", o.count, "Pictures to draw for each row")
      ->check(CLI::Range(100, 1 << 20))
      ->capture_default_str();
  app.add_option("--steps", o.steps, "DDIM steps")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
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
  auto* evaluate_app =
      app.add_subcommand("evaluate", "Judge a model's pictures: read as asked? how far from real?");
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
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (threads) set_thread_count(*threads);
  if (train_app->parsed()) train(train_options);
  if (sample_app->parsed()) sample(sample_options);
  if (predict_app->parsed()) predict(predict_options);
  if (info_app->parsed()) info(info_options);
  if (evaluate_app->parsed()) evaluate(evaluate_options);
  if (std::fflush(stdout) != 0)
    throw Error("stdout", fmt::format("cannot write: {}", std::strerror(errno)));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
#if defined(SIGXFSZ)
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit becomes an error message instead of a kill
#endif
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "sfumato: out of memory\n");
  } catch (const std::exception& e) {
    fmt::print(stderr, "sfumato: {}\n", e.what());
  }
  return 1;
}
