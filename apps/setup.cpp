#include "apps/setup.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "apps/null_label.h"
#include "nn/presets.h"
#include "tensor/io/json.h"

namespace sfumato::apps {
namespace {

namespace fs = std::filesystem;

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
  take("--prediction", o.prediction, s.prediction_type, [](auto p) { return diffusion::name(p); });
  take("--schedule", o.schedule, s.beta_schedule,
       [](auto b) { return diffusion::diffusers_name(b); });
  take("--timesteps", o.timesteps, s.num_train_timesteps, [](auto t) { return t; });
  if (!model.scheduler_found) diffusion::scale_betas(s);
  if (model.sampling_problem.empty()) return;
  // The run gets a scheduler of its own, which can sample.
  model.notes.push_back(
      fmt::format("{}; this run trains and samples with {}, {} timesteps and predicts {}",
                  model.sampling_problem, diffusion::diffusers_name(s.beta_schedule),
                  s.num_train_timesteps, diffusion::diffusers_name(s.prediction_type)));
  model.sampling_problem.clear();
}

}  // namespace

std::string bundled_mnist() {
  std::vector<fs::path> places;
  if (const char* named = std::getenv("SFUMATO_MNIST")) places.emplace_back(named);
  std::error_code ignored;
  if (const fs::path exe = fs::read_symlink("/proc/self/exe", ignored); !exe.empty()) {
    places.push_back(exe.parent_path() / ".." / "data" / "mnist");
    places.push_back(exe.parent_path() / ".." / "share" / "sfumato" / "mnist");
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

diffusion::Pipeline new_model(const TrainOptions& o, const data::ImageDataset& data) {
  if (!o.init.empty()) {
    diffusion::Pipeline model = diffusion::load_pipeline(o.init);
    adopt(model, o);
    if (o.dropout && *o.dropout != model.unet_config.dropout)
      throw Error("train", "--dropout cannot be changed with --init");
    choose_null_label(model, o, data);
    return model;
  }
  nn::UNetConfig config;
  std::vector<std::string> notes;
  std::optional<std::int64_t> null_label;
  if (nn::is_preset(o.model)) {
    const bool hides_labels = data.classes > 0 && o.label_dropout != 0.0;
    if (hides_labels) null_label = data.classes;
    config = nn::preset(o.model, data.images.dim(3), data.classes + (hides_labels ? 1 : 0));
  } else {
    if (std::error_code ignored; !fs::exists(o.model, ignored))
      throw Error("train", fmt::format("--model: expected {} or a config.json, got '{}'",
                                       nn::preset_names(), o.model));
    config = nn::parse_unet_config(io::JsonObject::read(o.model), &notes);
  }
  if (o.dropout) config.dropout = *o.dropout;
  const diffusion::SchedulerConfig scheduler = diffusion::default_scheduler(
      o.prediction.value_or(diffusion::Prediction::v),
      o.schedule.value_or(diffusion::BetaSchedule::cosine), o.timesteps.value_or(1000));
  diffusion::Pipeline model = diffusion::make_pipeline(config, scheduler, null_label, o.seed);
  model.notes.insert(model.notes.begin(), notes.begin(), notes.end());
  choose_null_label(model, o, data);
  return model;
}

void fit(diffusion::Pipeline& model, data::ImageDataset& data, bool pad) {
  nn::UNetConfig& c = model.unet_config;
  const std::int64_t multiple = c.size_multiple();
  if (pad) data::pad_to_multiple(data, multiple);
  const std::int64_t h = data.images.dim(1), w = data.images.dim(2), channels = data.images.dim(3);
  c.sample_height = h;
  c.sample_width = w;
  if (h % multiple != 0 || w % multiple != 0)
    throw Error(
        "data",
        fmt::format("pictures are {}x{}, this network needs multiples of {}: use --pad, which adds "
                    "a black border, or --size",
                    h, w, multiple));
  if (channels != c.in_channels || channels != c.out_channels)
    throw Error("data",
                fmt::format("pictures have {} channel(s), the network expects {} and gives {}",
                            channels, c.in_channels, c.out_channels));
  switch (c.class_embed) {
    case nn::ClassEmbed::none:
      return;
    case nn::ClassEmbed::table:
      if (data.classes == 0)
        throw Error("data", "has no labels, but the network is class-conditional");
      if (data.classes > c.num_class_embeds)
        throw Error("data", fmt::format("has {} classes, the network's table has room for {}",
                                        data.classes, model.classes()));
      if (model.null_label && has_pictures(data, *model.null_label))
        throw Error("data", fmt::format("has pictures of label {}, which stands for 'no class' in "
                                        "the network: --null-label names another row",
                                        *model.null_label));
      return;
    default:
      throw Error("train", "class_embed_type timestep and identity cannot be trained here");
  }
}

}  // namespace sfumato::apps
