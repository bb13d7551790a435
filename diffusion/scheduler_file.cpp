#include "diffusion/scheduler_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "nn/unet_config.h"

namespace sfumato::diffusion {
namespace {

// A class of diffusers that walks a schedule of betas, and what a missing key means to it. A key
// that the class has not means what it means to DDIM, as with DDIMScheduler.from_config.
struct SchedulerClass {
  std::string_view name;
  std::string_view sampler =
      "";  // of this library, that samples as the class does; "": DDIM in its place
  double beta_start = 0.0001, beta_end = 0.02;
  std::string_view beta_schedule = "linear";
  Spacing spacing = Spacing::leading;
  bool clip_sample = true, set_alpha_to_one = true;

  bool sampled_here() const { return !sampler.empty(); }
};

// Classes that differ from DDIM in more than the name. (Those of Sampler::all need no line.)
constexpr SchedulerClass kClasses[] = {
    {.name = "DDPMParallelScheduler", .sampler = "ddpm"},
    {.name = "DDIMParallelScheduler", .sampler = "ddim"},
    {.name = "DDIMInverseScheduler"},
    {.name = "PNDMScheduler", .set_alpha_to_one = false},
    {.name = "LMSDiscreteScheduler", .spacing = Spacing::linspace},
    {.name = "EulerDiscreteScheduler", .spacing = Spacing::linspace},
    {.name = "EulerAncestralDiscreteScheduler", .spacing = Spacing::linspace},
    {.name = "HeunDiscreteScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .spacing = Spacing::linspace,
     .clip_sample = false},
    {.name = "KDPM2DiscreteScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .spacing = Spacing::linspace},
    {.name = "KDPM2AncestralDiscreteScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .spacing = Spacing::linspace},
    {.name = "DPMSolverSDEScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .spacing = Spacing::linspace},
    {.name = "DPMSolverMultistepScheduler", .spacing = Spacing::linspace},
    {.name = "DPMSolverMultistepInverseScheduler", .spacing = Spacing::linspace},
    {.name = "DPMSolverSinglestepScheduler"},
    {.name = "DEISMultistepScheduler", .spacing = Spacing::linspace},
    {.name = "UniPCMultistepScheduler", .spacing = Spacing::linspace},
    {.name = "SASolverScheduler", .spacing = Spacing::linspace},
    {.name = "LCMScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .beta_schedule = "scaled_linear",
     .clip_sample = false},
    {.name = "TCDScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .beta_schedule = "scaled_linear",
     .clip_sample = false},
    {.name = "RePaintScheduler"},
    {.name = "UnCLIPScheduler", .beta_schedule = "cosine"},
};

// Keys that are honoured, whatever the class; the last two only matter to thresholding.
constexpr std::array kHonoured = {"num_train_timesteps",
                                  "beta_start",
                                  "beta_end",
                                  "beta_schedule",
                                  "trained_betas",
                                  "clip_sample",
                                  "clip_sample_range",
                                  "prediction_type",
                                  "variance_type",
                                  "set_alpha_to_one",
                                  "timestep_spacing",
                                  "steps_offset",
                                  "thresholding",
                                  "rescale_betas_zero_snr",
                                  "dynamic_thresholding_ratio",
                                  "sample_max_value"};

// Keys of the samplers that DDIM and DDPM replace: they go with their sampler.
constexpr std::array kOtherSamplers = {
    "algorithm_type",     "corrector_order",   "disable_corrector",    "eta",
    "euler_at_final",     "final_sigmas_type", "flow_shift",           "interpolation_type",
    "lambda_min_clipped", "lower_order_final", "noise_sampler_seed",   "original_inference_steps",
    "predict_x0",         "predictor_order",   "shift_terminal",       "sigma_max",
    "sigma_min",          "skip_prk_steps",    "solver_order",         "solver_p",
    "solver_type",        "tau_func",          "time_shift_type",      "timestep_scaling",
    "timestep_type",      "use_beta_sigmas",   "use_dynamic_shifting", "use_exponential_sigmas",
    "use_flow_sigmas",    "use_karras_sigmas", "use_lu_lambdas"};

template <std::size_t n>
bool is_in(const std::array<const char*, n>& keys, const std::string& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Reads one file; what is not supported becomes its problem, the first one wins.
class Reader {
 public:
  explicit Reader(const io::JsonObject& json) : json_(json) {}

  SchedulerFile read() {
    const std::optional<SchedulerClass> known = find_class();
    if (!known) return result_;
    SchedulerConfig& c = result_.config;
    c.sampler = known->sampled_here() ? parse_sampler(known->sampler) : Sampler::ddim;
    c.num_train_timesteps = json_.get_int("num_train_timesteps", c.num_train_timesteps);
    c.beta_start = json_.get_number("beta_start", known->beta_start);
    c.beta_end = json_.get_number("beta_end", known->beta_end);
    c.trained_betas = json_.get_numbers("trained_betas", {});
    c.clip_sample = json_.get_bool("clip_sample", known->clip_sample);
    c.clip_sample_range = json_.get_number("clip_sample_range", c.clip_sample_range);
    c.set_alpha_to_one = json_.get_bool("set_alpha_to_one", known->set_alpha_to_one);
    c.steps_offset = json_.get_int("steps_offset", c.steps_offset);
    c.beta_schedule = parse_beta_schedule(known->beta_schedule);
    c.timestep_spacing = known->spacing;
    // Without these the schedule is another one than training's.
    if (c.trained_betas.empty()) take("beta_schedule", c.beta_schedule, parse_beta_schedule);
    take("prediction_type", c.prediction_type, parse_prediction);
    refuse_if_true("rescale_betas_zero_snr");
    if (!known->sampled_here()) {
      refuse_if_true("use_flow_sigmas");
      if (json_.get_string("timestep_type", "discrete") != "discrete")
        refuse("timestep_type " + io::in_quotes(json_.get_string("timestep_type")) +
               " is not supported");
    }
    result_.schedule_known = result_.problem.empty();
    // These are of sampling alone.
    take("timestep_spacing", c.timestep_spacing, parse_spacing);
    read_variance(c, *known);
    refuse_if_true("thresholding");
    if (result_.schedule_known) {
      check(c);
    } else {
      c = SchedulerConfig{};
    }
    note_keys(*known);
    return result_;
  }

 private:
  void refuse(const std::string& what) {
    if (result_.problem.empty()) result_.problem = json_.source() + ": " + what;
  }

  // None for a class without a schedule of betas.
  std::optional<SchedulerClass> find_class() {
    std::string name = json_.get_string("_class_name", "DDPMScheduler");
    if (name.starts_with("Flax")) name.erase(0, 4);  // the same files
    for (const SchedulerClass& known : kClasses)
      if (name == known.name) return known;
    for (const Sampler* sampler : Sampler::all)
      if (name == sampler->diffusers)
        return SchedulerClass{.name = sampler->diffusers, .sampler = sampler->name};
    refuse(io::in_quotes(name) +
           " is not supported; expected DDPMScheduler, DDIMScheduler or another on a schedule of "
           "betas");
    result_.schedule_known = false;
    return std::nullopt;
  }

  template <class E, class Parse>
  void take(const char* key, E& value, Parse parse) {
    if (!json_.contains(key)) return;
    const std::string name = json_.get_string(key);
    try {
      value = parse(name);
    } catch (const Error& e) {
      refuse(e.what());
    }
  }

  void refuse_if_true(const char* key) {
    if (json_.get_bool(key, false)) refuse(fmt::format("{} = true is not supported", key));
  }

  void read_variance(SchedulerConfig& c, const SchedulerClass& known) {
    const std::string name = json_.get_string("variance_type", "");
    if (name == "fixed_small_log") return;  // the logarithm of the default
    if (known.sampled_here() && c.sampler.field != "variance_type" && name.starts_with("learned")) {
      foreign_.push_back("variance_type");  // the class does not look at it
    } else {
      take("variance_type", c.variance_type, parse_variance);
    }
  }

  void check(const SchedulerConfig& c) const {
    try {
      make_schedule(c);
    } catch (const Error& e) {
      throw Error(json_.source(), e.what());
    }
  }

  void note_keys(const SchedulerClass& known) {
    std::vector<std::string> switched_on;
    for (const auto& [key, value] : json_.json().items()) {
      if (key.starts_with("_") || is_in(kHonoured, key)) continue;
      if (known.sampled_here() || !is_in(kOtherSamplers, key)) {
        foreign_.push_back(key);
      } else if (key.ends_with("_sigmas") && value == true) {
        switched_on.push_back(key);
      }
    }
    if (!known.sampled_here())
      result_.notes.push_back(fmt::format(
          "{}: {} is not a sampler here: ddim or ddpm on its schedule of betas{}", json_.source(),
          known.name, switched_on.empty() ? "" : ", without its " + io::in_quotes(switched_on)));
    if (!foreign_.empty())
      result_.notes.push_back(fmt::format("{}: read past {}, which {} does not have",
                                          json_.source(), io::in_quotes(foreign_), known.name));
  }

  const io::JsonObject& json_;
  SchedulerFile result_;
  std::vector<std::string> foreign_;  // keys without effect
};

}  // namespace

SchedulerFile parse_scheduler_config(const io::JsonObject& json) { return Reader(json).read(); }

io::Json to_json(const SchedulerConfig& c) {
  io::Json j;
  j["_class_name"] = c.sampler.diffusers;
  j["_diffusers_version"] = nn::kDiffusersVersion;
  j["num_train_timesteps"] = c.num_train_timesteps;
  j["beta_schedule"] = c.beta_schedule.diffusers;
  j["beta_start"] = c.beta_start;
  j["beta_end"] = c.beta_end;
  j["trained_betas"] = c.trained_betas.empty() ? io::Json(nullptr) : io::Json(c.trained_betas);
  j["prediction_type"] = c.prediction_type.diffusers;
  j["clip_sample"] = c.clip_sample;
  j["clip_sample_range"] = c.clip_sample_range;
  j["timestep_spacing"] = name(c.timestep_spacing);
  j["steps_offset"] = c.steps_offset;
  j["thresholding"] = false;
  j["rescale_betas_zero_snr"] = false;
  if (c.sampler.field == "variance_type") j["variance_type"] = name(c.variance_type);
  if (c.sampler.field == "set_alpha_to_one") j["set_alpha_to_one"] = c.set_alpha_to_one;
  return j;
}

}  // namespace sfumato::diffusion
