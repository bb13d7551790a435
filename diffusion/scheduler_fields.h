// The keys of a scheduler_config.json, each declared once: its member of SchedulerConfig and the values it may have.
// scheduler_file.cpp reads and writes by these lists, validate() checks by them. For .cpp files.
#pragma once
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "diffusion/scheduler_config.h"
#include "tensor/io/fields.h"

namespace sfumato::diffusion {

// A schedule is tables of that many numbers: a file must not ask for all memory.
inline constexpr std::int64_t kMostTimesteps = 1'000'000;

// Thrown by a form for a value that diffusers has and this library has not. (A value that cannot be right, such as
// a text for a number, is an Error.)
struct NotSupported {
  std::string what;
};

// An enumerator by its name, or a row of a table by the one that diffusers gives it. `parse` throws Error for another.
template <class T, class Parsed = T>
struct Name : io::AnyValue {
  Parsed (*parse)(std::string_view name);
  explicit Name(Parsed (*parse)(std::string_view)) : parse(parse) {}
  void read(const io::JsonObject& json, const char* key, T& value) const {
    const std::string text = json.get_string(key);
    try {
      value = parse(text);
    } catch (const Error& e) {
      throw NotSupported{e.what()};
    }
  }
  io::Json write(const T& value) const {
    if constexpr (std::is_enum_v<T>) {
      return name(value);
    } else {
      return value.diffusers;
    }
  }
};
template <class Parsed>
Name(Parsed (*)(std::string_view)) -> Name<std::remove_cvref_t<Parsed>, Parsed>;

// null when empty.
struct Betas : io::AnyValue {
  void read(const io::JsonObject& json, const char* key, std::vector<double>& values) const {
    values = json.get_numbers(key);
  }
  io::Json write(const std::vector<double>& values) const {
    return values.empty() ? io::Json(nullptr) : io::Json(values);
  }
};

// What the network was trained with. Config: SchedulerConfig, const or not.
template <class Visitor, class Config>
void visit_training_fields(const Visitor& v, Config& c) {
  v("num_train_timesteps", c.num_train_timesteps, io::Integer{1, kMostTimesteps});
  v("beta_start", c.beta_start, io::Real{});
  v("beta_end", c.beta_end, io::Real{});
  v("trained_betas", c.trained_betas, Betas{});
  v("beta_schedule", c.beta_schedule, Name{parse_beta_schedule});
  v("prediction_type", c.prediction_type, Name{parse_prediction});
  v("rescale_betas_zero_snr", c.rescale_betas_zero_snr, io::Bool{});
  v("shift", c.shift, io::Real{[](double shift) { return shift > 0; }, "a positive number"});
}

// What its sampler does.
template <class Visitor, class Config>
void visit_sampling_fields(const Visitor& v, Config& c) {
  v("timestep_spacing", c.timestep_spacing, Name{parse_spacing});
  v("steps_offset", c.steps_offset, io::Integer{0, kMostTimesteps});
  v("variance_type", c.variance_type, Name{parse_variance});
  v("set_alpha_to_one", c.set_alpha_to_one, io::Bool{});
  v("clip_sample", c.clip_sample, io::Bool{});
  v("clip_sample_range", c.clip_sample_range,
    io::Real{[](double range) { return range > 0; }, "a positive number"});
  v("thresholding", c.thresholding, io::Bool{});
  v("dynamic_thresholding_ratio", c.dynamic_thresholding_ratio,
    io::Real{[](double ratio) { return ratio > 0 && ratio <= 1; }, "a number in (0, 1]"});
  v("sample_max_value", c.sample_max_value,
    io::Real{[](double most) { return most >= 1; }, "a number of at least 1"});
}

}  // namespace sfumato::diffusion
