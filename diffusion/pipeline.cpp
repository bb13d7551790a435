#include "diffusion/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "nn/checkpoint.h"
#include "tensor/io/file.h"
#include "tensor/io/safetensors.h"

namespace sfumato::diffusion {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "diffusion_pytorch_model.safetensors";
constexpr const char* kNullLabel = "sfumato.null_label";  // in the weights' metadata

constexpr std::array kSchedulerKeys = {
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
    "clip_sample", "clip_sample_range", "prediction_type", "variance_type", "set_alpha_to_one",
    "timestep_spacing", "steps_offset", "thresholding", "rescale_betas_zero_snr",
    // without effect while thresholding is off
    "dynamic_thresholding_ratio", "sample_max_value"};

// Runs f and puts the file's name in front of what it throws.
template <class F>
auto in_file(const std::string& source, F f) {
  try {
    return f();
  } catch (const Error& e) {
    throw Error(source, e.what());
  }
}

fs::path first_existing(std::initializer_list<fs::path> candidates) {
  for (const fs::path& p : candidates)
    if (std::error_code ignored; fs::exists(p, ignored)) return p;
  return {};
}

// The weights beside `config`, or a message that says what is there instead.
fs::path find_weights(const fs::path& folder) {
  const fs::path weights = folder / kWeights;
  std::error_code ignored;
  if (fs::exists(weights, ignored)) return weights;
  if (fs::exists(folder / "diffusion_pytorch_model.bin", ignored))
    throw Error(folder.string(),
                fmt::format("holds diffusion_pytorch_model.bin, a Python pickle; expected {} "
                            "(in Python: save_pretrained with safe_serialization=True)",
                            kWeights));
  if (fs::exists(folder / (std::string(kWeights) + ".index.json"), ignored))
    throw Error(folder.string(),
                fmt::format("the weights are split over several files; expected one {}", kWeights));
  throw Error(folder.string(), fmt::format("{} is missing", kWeights));
}

}  // namespace

SchedulerConfig parse_scheduler_config(const io::JsonObject& json) {
  for (const auto& [key, value] : json.json().items())
    if (!key.starts_with("_") &&
        std::find(kSchedulerKeys.begin(), kSchedulerKeys.end(), key) == kSchedulerKeys.end())
      throw Error(json.source(), fmt::format("{}: this option is not known", io::in_quotes(key)));
  return in_file(json.source(), [&] {
    SchedulerConfig c;
    c.method = parse_method(json.get_string("_class_name", diffusers_name(c.method)));
    c.num_train_timesteps = json.get_int("num_train_timesteps", c.num_train_timesteps);
    c.beta_schedule =
        parse_beta_schedule(json.get_string("beta_schedule", diffusers_name(c.beta_schedule)));
    c.beta_start = json.get_number("beta_start", c.beta_start);
    c.beta_end = json.get_number("beta_end", c.beta_end);
    c.trained_betas = json.get_numbers("trained_betas", {});
    c.prediction_type =
        parse_prediction(json.get_string("prediction_type", diffusers_name(c.prediction_type)));
    c.variance_type =
        parse_variance(json.get_string("variance_type", diffusers_name(c.variance_type)));
    c.clip_sample = json.get_bool("clip_sample", c.clip_sample);
    c.clip_sample_range = json.get_number("clip_sample_range", c.clip_sample_range);
    c.set_alpha_to_one = json.get_bool("set_alpha_to_one", c.set_alpha_to_one);
    c.timestep_spacing =
        parse_spacing(json.get_string("timestep_spacing", diffusers_name(c.timestep_spacing)));
    c.steps_offset = json.get_int("steps_offset", c.steps_offset);
    c.thresholding = json.get_bool("thresholding", c.thresholding);
    c.rescale_betas_zero_snr = json.get_bool("rescale_betas_zero_snr", c.rescale_betas_zero_snr);
    make_schedule(c);  // throws unless it is one
    return c;
  });
}

io::Json to_json(const SchedulerConfig& c) {
  io::Json j;
  j["_class_name"] = diffusers_name(c.method);
  j["_diffusers_version"] = nn::kDiffusersVersion;
  j["num_train_timesteps"] = c.num_train_timesteps;
  j["beta_schedule"] = diffusers_name(c.beta_schedule);
  j["beta_start"] = c.beta_start;
  j["beta_end"] = c.beta_end;
  j["trained_betas"] = c.trained_betas.empty() ? io::Json(nullptr) : io::Json(c.trained_betas);
  j["prediction_type"] = diffusers_name(c.prediction_type);
  j["clip_sample"] = c.clip_sample;
  j["clip_sample_range"] = c.clip_sample_range;
  j["timestep_spacing"] = diffusers_name(c.timestep_spacing);
  j["steps_offset"] = c.steps_offset;
  j["thresholding"] = false;
  j["rescale_betas_zero_snr"] = false;
  if (c.method == Method::ddpm) {
    j["variance_type"] = diffusers_name(c.variance_type);
  } else {
    j["set_alpha_to_one"] = c.set_alpha_to_one;
  }
  return j;
}

std::int64_t Pipeline::classes() const {
  if (unet_config.class_embed != nn::ClassEmbed::table) return 0;
  return unet_config.num_class_embeds - (null_label ? 1 : 0);
}

void Pipeline::expect_sampling() const {
  if (!sampling_problem.empty()) throw Error("sample", sampling_problem);
}

Pipeline make_pipeline(const nn::UNetConfig& unet, const SchedulerConfig& scheduler,
                       std::optional<std::int64_t> null_label, std::uint64_t seed,
                       std::int64_t limit) {
  Pipeline p;
  p.unet_config = unet;
  p.scheduler = scheduler;
  p.null_label = null_label;
  p.params = std::make_unique<nn::Params>(seed, DType::f32, limit);
  p.unet = std::make_unique<nn::UNet>(nn::Scope(*p.params), unet);
  p.params->flat_values();  // lays them out
  return p;
}

Pipeline load_pipeline(const fs::path& dir) {
  std::error_code ignored;
  if (!fs::is_directory(dir, ignored)) throw Error(dir.string(), "no such folder");
  const fs::path config_path = first_existing({dir / "unet" / "config.json", dir / "config.json"});
  if (config_path.empty())
    throw Error(dir.string(),
                "not a diffusers model: neither unet/config.json nor config.json is there");
  const nn::UNetConfig unet = nn::parse_unet_config(io::JsonObject::read(config_path));

  SchedulerConfig scheduler;
  const fs::path scheduler_path =
      first_existing({dir / "scheduler" / "scheduler_config.json", dir / "scheduler_config.json"});
  if (!scheduler_path.empty())
    scheduler = parse_scheduler_config(io::JsonObject::read(scheduler_path));

  const io::SafeTensors weights(find_weights(config_path.parent_path()));
  std::int64_t numbers = 0;
  for (const io::TensorEntry& e : weights.entries()) numbers += e.shape.size();

  std::optional<std::int64_t> null_label;
  if (const auto it = weights.metadata().find(kNullLabel); it != weights.metadata().end()) {
    std::int64_t label = -1;
    const std::string& text = it->second;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), label);
    if (end.ec != std::errc{} || end.ptr != text.data() + text.size() || label < 0 ||
        label >= unet.num_class_embeds)
      throw Error(weights.path().string(),
                  fmt::format("metadata {}: expected a row of the class table, got {}", kNullLabel,
                              io::in_quotes(text)));
    null_label = label;
  }

  // The network may not be much larger than its file, a config can promise anything; but a bit, so
  // that load_parameters can say which parameter is missing or of another shape.
  const std::int64_t limit = 2 * numbers + (1 << 20);
  Pipeline p = in_file(weights.path().string(),
                       [&] { return make_pipeline(unet, scheduler, null_label, 0, limit); });
  p.scheduler_found = !scheduler_path.empty();
  nn::load_parameters(*p.params, weights);
  return p;
}

void save_pipeline_config(const fs::path& dir, const Pipeline& p) {
  io::make_directories(dir / "unet");
  io::make_directories(dir / "scheduler");
  io::write_json(dir / "unet" / "config.json", nn::to_json(p.unet_config));
  io::write_json(dir / "scheduler" / "scheduler_config.json", to_json(p.scheduler));
  io::Json index;
  index["_class_name"] = p.scheduler.method == Method::ddim ? "DDIMPipeline" : "DDPMPipeline";
  index["_diffusers_version"] = nn::kDiffusersVersion;
  index["scheduler"] = {"diffusers", diffusers_name(p.scheduler.method)};
  index["unet"] = {"diffusers", "UNet2DModel"};
  io::write_json(dir / "model_index.json", index);
}

void save_pipeline_weights(const fs::path& dir, const Pipeline& p, const Tensor& flat) {
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  if (p.null_label) metadata[kNullLabel] = std::to_string(*p.null_label);
  nn::save_parameters(*p.params, flat, dir / "unet" / kWeights, metadata);
}

}  // namespace sfumato::diffusion
