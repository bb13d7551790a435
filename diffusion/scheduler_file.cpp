#include "diffusion/scheduler_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>

#include "diffusion/scheduler_classes.h"
#include "diffusion/scheduler_fields.h"
#include "nn/unet_config.h"

namespace sfumato::diffusion {
namespace {

// What a missing key means.
void take_defaults(const SchedulerClass& known, SchedulerConfig& c) {
  c.beta_start = known.beta_start;
  c.beta_end = known.beta_end;
  c.beta_schedule = parse_beta_schedule(known.beta_schedule);
  c.prediction_type = parse_prediction(known.prediction);
  c.timestep_spacing = known.spacing;
  c.clip_sample = known.clip_sample;
  c.set_alpha_to_one = known.set_alpha_to_one;
}

// Keys that are honoured, whatever the class.
const std::set<std::string>& honoured_keys() {
  static const std::set<std::string> keys = [] {
    std::set<std::string> all;
    const SchedulerConfig config;
    visit_training_fields(io::CollectKeys{all}, config);
    visit_sampling_fields(io::CollectKeys{all}, config);
    return all;
  }();
  return keys;
}

// Keys of the samplers that DDIM and DDPM replace: they go with their sampler.
constexpr std::array kOtherSamplers = {"algorithm_type",
                                       "corrector_order",
                                       "disable_corrector",
                                       "eta",
                                       "euler_at_final",
                                       "final_sigmas_type",
                                       "flow_shift",
                                       "interpolation_type",
                                       "lambda_min_clipped",
                                       "lower_order_final",
                                       "noise_sampler_seed",
                                       "original_inference_steps",
                                       "predict_x0",
                                       "predictor_order",
                                       "rho",
                                       "shift_terminal",
                                       "sigma_data",
                                       "sigma_max",
                                       "sigma_min",
                                       "sigma_schedule",
                                       "skip_prk_steps",
                                       "solver_order",
                                       "solver_p",
                                       "solver_type",
                                       "tau_func",
                                       "time_shift_type",
                                       "timestep_scaling",
                                       "timestep_type",
                                       "use_beta_sigmas",
                                       "use_dynamic_shifting",
                                       "use_exponential_sigmas",
                                       "use_flow_sigmas",
                                       "use_karras_sigmas",
                                       "use_lu_lambdas"};

bool goes_with_another_sampler(const std::string& key) {
  return std::find(kOtherSamplers.begin(), kOtherSamplers.end(), key) != kOtherSamplers.end();
}

bool is_setting(const Sampler& sampler, std::string_view key) {
  return std::any_of(sampler.settings.begin(), sampler.settings.end(),
                     [&](const Sampler::Setting& s) { return s.key == key; });
}

bool spaces_sigma(const Sampler& sampler, std::string_view key) {
  return std::any_of(sampler.sigma_spacings.begin(), sampler.sigma_spacings.end(),
                     [&](const Sampler::SigmaSpacing& s) { return s.key == key; });
}

// A sampler whose class has that name; null where there is none.
const Sampler* first_of_class(std::string_view name) {
  for (const Sampler* row : Sampler::all)
    if (row->diffusers == name) return row;
  return nullptr;
}

// Whether the betas of the file are those of the schedule that it names too.
bool names_its_betas(const BetaSchedule& row, const std::vector<double>& betas) {
  return row.betas_in_file && row.betas(std::ssize(betas), 0, 0) == betas;
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
    take_defaults(*known, c);
    const auto read = [&](const char* key, auto& value, const auto& form) {
      try {
        if (counts(key, *known)) io::ReadFields{json_}(key, value, form);
      } catch (const NotSupported& e) {
        refuse(e.what);
      }
    };
    visit_training_fields(read, c);
    read_words_of(*known, c);
    if (const std::string name = json_.get_string("beta_schedule", ""); !c.trained_betas.empty())
      for (const BetaSchedule* row : BetaSchedule::all)
        if (row->diffusers == name && names_its_betas(*row, c.trained_betas))
          c.beta_schedule = *row, c.trained_betas.clear();
    if (!known->sampled_here()) {
      refuse_if_true("use_flow_sigmas");
      refuse_if_true("use_dynamic_shifting");
      if (json_.get_string("timestep_type", "discrete") != "discrete")
        refuse("timestep_type " + io::in_quotes(json_.get_string("timestep_type")) +
               " is not supported");
    }
    // Without what stands above, the schedule is another one than training's.
    result_.schedule_known = result_.problem.empty();
    visit_sampling_fields(read, c);
    read_sigma_spacing(c);
    if (result_.schedule_known) {
      check(c);
      if (const std::string problem = combination_problem(c); !problem.empty()) refuse(problem);
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
    const Sampler* sampler = nullptr;
    for (const Sampler* row : Sampler::all)
      if (name == row->diffusers && has_settings_of(*row)) sampler = row;
    for (SchedulerClass known : kClasses)
      if (name == known.name) {
        if (sampler) known.sampler = sampler->name;
        return known;
      }
    if (sampler) return SchedulerClass{.name = sampler->diffusers, .sampler = sampler->name};
    const auto* known = std::find_if(std::begin(kRefused), std::end(kRefused),
                                     [&](const auto& row) { return name == row.first; });
    refuse(
        fmt::format("{} is not supported{}; expected DDPMScheduler, DDIMScheduler or another on "
                    "a schedule of betas",
                    io::in_quotes(name),
                    known == std::end(kRefused) ? "" : fmt::format(": {}", known->second)));
    result_.schedule_known = false;
    return std::nullopt;
  }

  // Whether the value of a key has an effect.
  bool counts(std::string_view key, const SchedulerClass& known) {
    if (key == "beta_schedule") return json_.get_numbers("trained_betas", {}).empty();
    if (key != "variance_type") return true;
    const std::string variance = json_.get_string("variance_type", "");
    const bool unseen = known.sampled_here() && !result_.config.sampler.takes_variance() &&
                        variance.starts_with("learned");
    if (unseen) foreign_.push_back("variance_type");  // the class does not look at it
    return !unseen && variance != "fixed_small_log";  // the logarithm of the default
  }

  bool has(std::string_view key, std::string_view value) const {
    const auto it = json_.json().find(std::string(key));
    // By dump(), too: −∞ is written as null.
    return it != json_.json().end() && (it->dump() == value || *it == io::Json::parse(value));
  }

  bool is_as_computed(const Sampler::Setting& s) const {
    return json_.json().contains(std::string(s.key)) ? has(s.key, s.value) : !s.needed;
  }

  // What a class that knows one schedule calls a prediction, and what else makes it another schedule.
  void read_words_of(const SchedulerClass& known, SchedulerConfig& c) {
    const Sampler* row = first_of_class(known.name);
    if (!row || !row->schedule) return;
    if (const Prediction* named = row->prediction_of(json_.get_string("prediction_type", "")))
      c.prediction_type = *named;
    for (const Sampler::Setting& s : row->settings)
      if (s.of_training && !is_as_computed(s))
        refuse(fmt::format("{} = {} is not supported; expected {}", s.key,
                           json_.json().at(std::string(s.key)).dump(), s.value));
  }

  // Whether the file's choices are those that the sampler computes.
  bool has_settings_of(const Sampler& sampler) const {
    return std::all_of(sampler.settings.begin(), sampler.settings.end(),
                       [&](const Sampler::Setting& s) { return is_as_computed(s); });
  }

  // The choices that keep a class which is sampled here otherwise from being so: " with solver_order = 1".
  std::string other_choices(std::string_view class_name) const {
    std::string fewest;
    std::size_t count = 0;
    for (const Sampler* row : Sampler::all) {
      if (class_name != row->diffusers) continue;
      std::string choices;
      std::size_t n = 0;
      for (const Sampler::Setting& s : row->settings) {
        if (is_as_computed(s)) continue;
        const auto it = json_.json().find(std::string(s.key));
        choices += fmt::format("{}{} = {}", n++ == 0 ? " with " : ", ", s.key,
                               it == json_.json().end() ? "its default" : it->dump());
      }
      if (fewest.empty() || n < count) fewest = choices, count = n;
    }
    return fewest;
  }

  void refuse_if_true(const char* key) {
    if (json_.get_bool(key, false)) refuse(fmt::format("{} = true is not supported", key));
  }

  // The keys with which a class spaces σ. Their values are those of the rows, or false.
  void read_sigma_spacing(SchedulerConfig& c) {
    for (const Sampler::SigmaSpacing& s : c.sampler.sigma_spacings) {
      const auto it = json_.json().find(std::string(s.key));
      if (it == json_.json().end() || *it == false || it->is_null()) continue;
      const auto rows = c.sampler.sigma_spacings;
      const auto row = std::find_if(rows.begin(), rows.end(), [&](const Sampler::SigmaSpacing& r) {
        return r.key == s.key && has(r.key, r.value);
      });
      if (row != rows.end())
        c.timestep_spacing = row->spacing;
      else
        refuse(fmt::format("{} = {} is not supported", s.key, it->dump()));
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
      if (key.starts_with("_") || honoured_keys().contains(key)) continue;
      const Sampler& sampler = result_.config.sampler;
      if (known.sampled_here() && is_setting(sampler, key)) continue;
      if (known.sampled_here() && spaces_sigma(sampler, key)) continue;
      if (known.sampled_here() || !goes_with_another_sampler(key)) {
        foreign_.push_back(key);
      } else if (key.ends_with("_sigmas") && value == true) {
        switched_on.push_back(key);
      }
    }
    if (!known.sampled_here())
      result_.notes.push_back(
          fmt::format("{}: {}{} is not a sampler here: ddim or ddpm on its schedule of betas{}",
                      json_.source(), known.name, other_choices(known.name),
                      switched_on.empty() ? "" : ", without its " + io::in_quotes(switched_on)));
    if (!foreign_.empty())
      result_.notes.push_back(fmt::format("{}: read past {}, which {} does not have",
                                          json_.source(), io::in_quotes(foreign_), known.name));
  }

  const io::JsonObject& json_;
  SchedulerFile result_;
  std::vector<std::string> foreign_;  // keys without effect
};

// To a class that knows one schedule: keys that it does not know are written where they say something else than it means,
// and its predictions have other names.
void use_words_of_the_class(const SchedulerConfig& config, io::Json& json) {
  const Sampler& row = config.sampler;
  if (const std::string_view* own = row.name_of(config.prediction_type))
    json["prediction_type"] = *own;
  else if (row.prediction_of(config.prediction_type.diffusers))
    json["prediction_type"] = config.prediction_type.name;
  for (const SchedulerClass& known : kClasses) {
    if (known.name != config.sampler.diffusers) continue;
    SchedulerConfig usual;
    take_defaults(known, usual);
    io::Json same = io::Json::object();
    visit_training_fields(io::WriteFields{same}, usual);
    visit_sampling_fields(io::WriteFields{same}, usual);
    for (const auto& [key, value] : same.items())
      if (key != "num_train_timesteps" && key != "shift" && json.contains(key) &&
          json.at(key) == value)
        json.erase(key);
  }
}

}  // namespace

SchedulerFile parse_scheduler_config(const io::JsonObject& json) { return Reader(json).read(); }

io::Json to_json(const SchedulerConfig& config) {
  io::Json json = io::Json::object();
  json["_class_name"] = config.sampler.diffusers;
  json["_diffusers_version"] = nn::kDiffusersVersion;
  visit_training_fields(io::WriteFields{json}, config);
  visit_sampling_fields(io::WriteFields{json}, config);
  if (config.beta_schedule.betas_in_file && config.trained_betas.empty())
    json["trained_betas"] =
        config.beta_schedule.betas(config.num_train_timesteps, config.beta_start, config.beta_end);
  if (config.shift == 1) json.erase("shift");  // most classes do not know it
  for (const auto& setting : config.sampler.settings)
    if (setting.value != "null") json[std::string(setting.key)] = io::Json::parse(setting.value);
  for (const Sampler::SigmaSpacing& s : config.sampler.sigma_spacings)
    if (json.value("timestep_spacing", "") == name(s.spacing)) {
      json[std::string(s.key)] = io::Json::parse(s.value);
      json["timestep_spacing"] = "linspace";
      if (config.sampler.schedule) json.erase("timestep_spacing");
    }
  for (const Sampler* other : Sampler::all)
    if (!other->field.empty() && other->field != config.sampler.field)
      json.erase(std::string(other->field));
  if (config.sampler.schedule) use_words_of_the_class(config, json);
  return json;
}

}  // namespace sfumato::diffusion
