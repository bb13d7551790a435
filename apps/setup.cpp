#include "apps/setup.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/null_label.h"
#include "nn/presets.h"
#include "nn/self_conditioned.h"
#include "tensor/io/json.h"

namespace sfumato::apps {
namespace {

namespace fs = std::filesystem;

// The network of --model: a preset, or the one of a config.json.
nn::BuildNetwork new_network(const TrainOptions& o, const data::ImageDataset& data,
                             std::vector<std::string>& notes) {
  if (nn::is_preset(o.model)) {
    const bool hides_labels = data.classes > 0 && o.label_dropout != 0.0;
    return nn::build_preset(o.model, {.channels = data.images.dim(3),
                                      .size = data.images.dim(1),
                                      .classes = data.classes,
                                      .hides_labels = hides_labels,
                                      .learned_variance = o.variance->learned(),
                                      .self_condition = o.self_condition,
                                      .dropout = o.dropout});
  }
  if (std::error_code ignored; !fs::exists(o.model, ignored))
    throw Error("train", fmt::format("--model: expected {} or a config.json, got '{}'",
                                     nn::preset_names(), o.model));
  io::Json json = io::JsonObject::read(o.model).json();
  if (o.dropout) json["dropout"] = *o.dropout;
  if (o.self_condition) json[nn::kSelfCondition] = true;
  const io::JsonObject config(std::move(json), o.model);
  return nn::read_network(config, &notes);
}

// The scheduler of --init: the folder's settings, completed by options for what it leaves open. Throws Error for an
// option that contradicts the folder.
void adopt(diffusion::Pipeline& model, const TrainOptions& o) {
  auto take = [&](const char* option, const auto& asked, auto& has, auto name) {
    if (asked && model.scheduler_found && *asked != has)
      throw Error("train", fmt::format("{} {}: the scheduler in {} says {}", option, name(*asked),
                                       o.init, name(has)));
    if (asked) has = *asked;
  };
  diffusion::SchedulerConfig& s = model.scheduler;
  take("--prediction", o.prediction, s.prediction_type, [](auto p) { return p.name; });
  take("--schedule", o.schedule, s.beta_schedule, [](auto b) { return b.diffusers; });
  take("--timesteps", o.timesteps, s.num_train_timesteps, [](auto t) { return t; });
  if (!model.scheduler_found) diffusion::scale_betas(s);
  if (model.sampling_problem.empty()) return;
  // The run gets a scheduler of its own, which can sample.
  model.notes.push_back(
      fmt::format("{}; this run trains and samples with {}, {} timesteps and predicts {}",
                  model.sampling_problem, s.beta_schedule.diffusers, s.num_train_timesteps,
                  s.prediction_type.diffusers));
  model.sampling_problem.clear();
}

// --zero-snr and --shift.
void shape_schedule(diffusion::SchedulerConfig& s, const TrainOptions& o) {
  const bool flow = *s.beta_schedule.path == diffusion::Path::flow;
  if (o.shift != 1 && !flow)
    throw Error("train",
                fmt::format("--shift {}: expected --schedule flow, got {}, whose classes in "
                            "diffusers know no shift",
                            o.shift, s.beta_schedule.name));
  if (o.zero_snr && !(*s.beta_schedule.path == diffusion::Path::variance_preserving))
    throw Error("train", fmt::format("--zero-snr: expected a schedule of DDPM's process, got {}",
                                     s.beta_schedule.name));
  s.shift = o.shift;
  s.rescale_betas_zero_snr = o.zero_snr;
}

// --variance of --init: as the folder has it, where that says anything.
void take_variance(diffusion::Pipeline& model, const TrainOptions& o) {
  diffusion::Variance& has = model.scheduler.variance_type;
  const bool gives = model.network->out_channels == 2 * model.network->in_channels;
  const bool says = gives && has == diffusion::Variance::learned_range;
  if (o.variance->learned() ? !gives : says)
    throw Error("train", fmt::format("--variance {}: the network in {} says {}", o.variance->name,
                                     o.init, says ? "a variance" : "none"));
  if (o.variance->learned())
    has = diffusion::Variance::learned_range;
  else if (has == diffusion::Variance::learned_range)
    has = diffusion::Variance::fixed_small;
}

}  // namespace

fs::path program_folder() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored).parent_path();
}

std::string bundled_mnist() {
  std::vector<fs::path> places;
  if (const char* named = std::getenv("SFUMATO_MNIST")) places.emplace_back(named);
  std::error_code ignored;
  if (const fs::path folder = program_folder(); !folder.empty()) {
    places.push_back(folder / ".." / "data" / "mnist");
    places.push_back(folder / ".." / "share" / "sfumato" / "mnist");
  }
  places.emplace_back(fs::path("data") / "mnist");
  std::string tried;
  for (const fs::path& p : places) {
    if (fs::is_directory(p, ignored)) return fs::canonical(p).string();
    tried += (tried.empty() ? "" : ", ") + p.string();
  }
  throw Error("data",
              fmt::format("the bundled MNIST is not there (looked for {}): give --data", tried));
}

data::ImageDataset open_dataset(const std::string& data, const data::LoadOptions& options) {
  return data::load_dataset(data == "mnist" ? bundled_mnist() : data, options);
}

data::LoadOptions load_options(const std::optional<std::string>& size,
                               const std::optional<std::string>& background) {
  data::LoadOptions options;
  if (size) options.size = io::parse_extent(*size);
  if (background) options.background = io::parse_background(*background);
  return options;
}

diffusion::Pipeline new_model(const TrainOptions& o, const data::ImageDataset& data) {
  if (!o.init.empty()) {
    diffusion::Pipeline model = diffusion::load_pipeline(o.init);
    if (o.zero_snr || o.shift != 1)
      throw Error("train", "--zero-snr and --shift: with --init the schedule is the folder's");
    adopt(model, o);
    take_variance(model, o);
    if (o.dropout && *o.dropout != model.network->config().value("dropout", 0.0))
      throw Error("train", "--dropout cannot be changed with --init");
    choose_null_label(model, o, data);
    return model;
  }
  std::vector<std::string> notes;
  const nn::BuildNetwork network = new_network(o, data, notes);
  diffusion::SchedulerConfig scheduler = diffusion::default_scheduler(
      o.prediction.value_or(diffusion::Prediction::v),
      o.schedule.value_or(diffusion::BetaSchedule::cosine), o.timesteps.value_or(1000));
  if (o.variance->learned()) scheduler.variance_type = diffusion::Variance::learned_range;
  shape_schedule(scheduler, o);
  diffusion::Pipeline model = diffusion::make_pipeline(network, scheduler, o.seed);
  model.notes.insert(model.notes.begin(), notes.begin(), notes.end());
  if (o.label_dropout == 0.0 && model.conditioning().null_label)
    throw Error(
        "train",
        fmt::format("--label-dropout 0: row {} of this network's class table stands for 'no "
                    "class' in any case, and hidden labels are what teaches it",
                    *model.conditioning().null_label));
  choose_null_label(model, o, data);
  return model;
}

void expect_self_condition(const diffusion::Pipeline& model, const TrainOptions& o) {
  if (model.network->takes_estimate != o.self_condition)
    throw Error("train",
                fmt::format("--self-condition is {}given, and the network of {} {} an estimate of "
                            "x_0 beside x_t",
                            o.self_condition ? "" : "not ",
                            o.init.empty() ? "--model " + o.model : "--init " + o.init,
                            o.self_condition ? "does not take" : "takes"));
  if (o.self_condition && o.batch < 2)
    throw Error("train",
                "--self-condition --batch 1: expected 2 or more, of which half see an estimate and "
                "half see none");
}

void expect_used(const TrainOptions& o) {
  const auto refuse = [](const std::string& option, const std::string& by) {
    throw Error("train", fmt::format("{} does nothing with {}", option, by));
  };
  const auto given = [&](const char* key) { return o.given.contains(key); };
  if (*o.variance == diffusion::ReverseVariance::variational) {
    if (given("loss") || !(*o.loss == diffusion::LossFunction::mse))
      refuse("--loss", "--variance variational, whose loss is the bound");
    if (given("loss_weight") || !(*o.loss_weight == diffusion::LossWeight::constant))
      refuse("--loss-weight", "--variance variational, whose loss is the bound");
  }
  if (*o.optimizer == nn::Optimizer::adamw && given("momentum"))
    refuse("--momentum", "--optimizer adamw, whose moments are --beta1 and --beta2");
}

void fit(diffusion::Pipeline& model, data::ImageDataset& data, bool pad) {
  if (const std::string problem = diffusion::combination_problem(model.scheduler); !problem.empty())
    throw Error("train", problem);
  const nn::Network& network = *model.network;
  const std::int64_t multiple = network.size_multiple;
  if (pad) data::pad_to_multiple(data, multiple);
  const std::int64_t h = data.images.dim(1), w = data.images.dim(2), channels = data.images.dim(3);
  model.network->sample_size = {h, w};
  if (const std::string problem = network.size_problem(h, w); !problem.empty())
    throw Error("data", problem + (h == w || !network.square
                                       ? ": use --pad, which adds a black border, or --size"
                                       : ": use --size"));
  const bool learned = model.scheduler.variance_type == diffusion::Variance::learned_range;
  if (channels != network.in_channels || (learned ? 2 : 1) * channels != network.out_channels)
    throw Error("data",
                fmt::format("pictures have {} channel(s), the network expects {} and gives {}{}",
                            channels, network.in_channels, network.out_channels,
                            learned ? " with their variance" : ""));
  const nn::Conditioning& conditioning = network.conditioning;
  if (conditioning.kind == nn::Conditioning::Kind::none) return;
  if (!conditioning.has_table())
    throw Error("train", "class_embed_type timestep and identity cannot be trained here");
  if (data.classes == 0) throw Error("data", "has no labels, but the network is class-conditional");
  if (data.classes > conditioning.rows)
    throw Error("data", fmt::format("has {} classes, the network's table has room for {}",
                                    data.classes, conditioning.classes()));
  if (conditioning.null_label && has_pictures(data, *conditioning.null_label))
    throw Error("data", fmt::format("has pictures of label {}, which stands for 'no class' in "
                                    "the network: --null-label names another row",
                                    *conditioning.null_label));
}

}  // namespace sfumato::apps
