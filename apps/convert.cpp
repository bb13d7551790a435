// `sfumato convert`: a model of another library, or of an older release, as a folder of today's.
#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "apps/command_line.h"
#include "apps/notes.h"
#include "diffusion/lucid_pipeline.h"
#include "tensor/io/image.h"

namespace sfumato::apps {
namespace {

namespace fs = std::filesystem;

struct ConvertOptions {
  std::string in, out;
  std::optional<std::string> prefix, package_version, size;
  std::optional<std::int64_t> heads, groups, timesteps;
  std::optional<diffusion::Prediction> prediction;
  std::optional<diffusion::BetaSchedule> schedule;
};

diffusion::LucidOptions lucid_options(const ConvertOptions& o) {
  diffusion::LucidOptions lucid;
  lucid.prefix = o.prefix;
  if (o.package_version) lucid.network.version = *nn::find_lucid_version(*o.package_version);
  lucid.network.heads = o.heads.value_or(lucid.network.heads);
  lucid.network.groups = o.groups.value_or(lucid.network.groups);
  lucid.timesteps = o.timesteps;
  lucid.schedule = o.schedule;
  lucid.prediction = o.prediction;
  if (o.size) lucid.size = io::parse_extent(*o.size);
  return lucid;
}

// A folder of diffusers. What it does not say is what was asked for; the rest may not be asked for.
diffusion::Pipeline load_folder(const ConvertOptions& o) {
  const std::pair<const char*, bool> of_files[] = {
      {"--prefix", o.prefix.has_value()},
      {"--heads", o.heads.has_value()},
      {"--groups", o.groups.has_value()},
      {"--package-version", o.package_version.has_value()}};
  for (const auto& [flag, given] : of_files)
    if (given)
      throw Error("convert",
                  fmt::format("{} is for a file of weights, and {} is a folder", flag, o.in));
  diffusion::Pipeline model = diffusion::load_pipeline(o.in);
  const bool asked = o.prediction || o.schedule || o.timesteps;
  if (model.scheduler_found && asked)
    throw Error("convert", fmt::format("{} has a scheduler: --prediction, --schedule and "
                                       "--timesteps are for a folder without one",
                                       o.in));
  if (!model.sampling_problem.empty()) throw Error("convert", model.sampling_problem);
  if (!model.scheduler_found) {
    if (!o.prediction || !o.schedule)
      throw Error("convert",
                  fmt::format("{} has no scheduler: give --prediction and --schedule", o.in));
    model.scheduler =
        diffusion::default_scheduler(*o.prediction, *o.schedule, o.timesteps.value_or(1000));
  }
  if (o.size) model.network->sample_size = io::parse_extent(*o.size);
  return model;
}

void convert(const ConvertOptions& o) {
  std::error_code error;
  if (fs::exists(o.out, error) && !(fs::is_directory(o.out, error) && fs::is_empty(o.out, error)))
    throw Error(o.out, "is there already: choose another --out");
  const diffusion::Pipeline model = fs::is_directory(o.in, error)
                                        ? load_folder(o)
                                        : diffusion::load_lucid_pipeline(o.in, lucid_options(o));
  print_notes(model.notes);
  diffusion::save_pipeline_config(o.out, model);
  diffusion::save_pipeline_weights(o.out, model, model.params->flat_values());
  const diffusion::SchedulerConfig& s = model.scheduler;
  fmt::print("{}: {}, {} parameters; schedule {}, {} timesteps, predicts {}\n", o.out,
             diffusion::network_class(model)->title, model.params->count(),
             s.trained_betas.empty() ? s.beta_schedule.name : "trained_betas",
             s.num_train_timesteps, s.prediction_type.name);
}

}  // namespace

RunSubcommand declare_convert(CommandLine& line) {
  const auto o = std::make_shared<ConvertOptions>();
  line(o->in, {"in",
               "A checkpoint of lucidrains' denoising-diffusion-pytorch, saved as safetensors; or "
               "a diffusers folder, to be written under today's names in float32"});
  line(o->out, {"out", "Folder to write"});
  line(o->prefix,
       {"prefix",
        "Which network of the checkpoint: what its tensors' names begin with (default: "
        "the moving average)"},
       Syntax{[](std::string_view) {}});
  line(o->package_version,
       {"package_version", "Release of the package that made it, where names do not tell: " +
                               nn::lucid_version_names()},
       Syntax{[](std::string_view text) {
         if (!nn::find_lucid_version(text))
           throw Error("--package-version",
                       fmt::format("expected {}, got {}", nn::lucid_version_names(), text));
       }});
  line(o->heads, {"heads", "Heads of attention, of a release before 1.9; default 4"},
       Integers{1, 1024});
  line(o->groups, {"groups", "Groups of the norms, of a release before 2.0; default 8"},
       Integers{1, 65536});
  line(o->prediction, {"prediction", "What the network predicts, where --in does not say it"},
       Choices<diffusion::Prediction>(diffusion::Prediction::all));
  line(o->schedule, {"schedule", "The schedule, where --in does not say it"},
       Choices<diffusion::BetaSchedule>(diffusion::BetaSchedule::all));
  line(o->timesteps, {"timesteps", "T, where --in does not say it"}, Integers{1, 1'000'000});
  line(o->size, {"size", "N or H,W: the size of its pictures, which `sample` draws"}, kSize);
  line.required({"in", "out"});
  line.example("sfumato convert --in model-100.safetensors --out model --size 32");
  return [o](Device) { convert(*o); };
}

}  // namespace sfumato::apps
