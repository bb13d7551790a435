// The fields of a `diffusers` scheduler_config.json, as values: which schedule a network was
// trained with, what it predicts, and how its sampler walks back. Reading and writing the file is
// not done here; a field that is absent from a file has the default below, which is that of
// `diffusers`.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "diffusion/objective.h"
#include "diffusion/schedule.h"

namespace sfumato::diffusion {

// `_class_name`: "DDPMScheduler", "DDIMScheduler".
enum class Method : std::uint8_t { ddpm, ddim };
// The noise of a DDPM step: the posterior's variance β̃_t, or β_t. DDPM, section 3.2: the two are
// the right choices for data that is one point, and for data that is N(0, I).
enum class Variance : std::uint8_t { fixed_small, fixed_large };
// How K of the T timesteps are chosen. Lin 2023, "Common diffusion noise schedules and sample steps
// are flawed", table 2: only trailing always begins at t = T−1, where training's noise ends.
enum class Spacing : std::uint8_t { leading, trailing, linspace };

const char* name(Method method);            // "ddpm", "ddim"
const char* diffusers_name(Method method);  // "DDPMScheduler", "DDIMScheduler"
Method parse_method(std::string_view name);
const char* diffusers_name(Variance variance);
Variance parse_variance(std::string_view name);
const char* diffusers_name(Spacing spacing);
Spacing parse_spacing(std::string_view name);

struct SchedulerConfig {
  Method method = Method::ddpm;
  std::int64_t num_train_timesteps = 1000;
  BetaSchedule beta_schedule = BetaSchedule::linear;
  double beta_start = 0.0001;
  double beta_end = 0.02;
  std::vector<double> trained_betas = {};  // not empty: used instead of the three fields above
  Prediction prediction_type = Prediction::eps;
  Variance variance_type = Variance::fixed_small;  // ddpm only
  bool clip_sample = true;
  double clip_sample_range = 1.0;
  // ddim only: after clipping x̂_0, compute ε̂ anew from it (sampler.h). In `diffusers` an argument
  // of step(), false by default, and in no file.
  bool use_clipped_model_output = true;
  bool set_alpha_to_one = true;  // ddim only: ᾱ after the last step is 1, else ᾱ_0
  Spacing timestep_spacing = Spacing::leading;
  std::int64_t steps_offset = 0;  // leading only
  // Not supported, and refused when true; here so that a reader need not decide.
  bool thresholding = false;
  bool rescale_betas_zero_snr = false;
};

// What a new network is trained with: β scaled to T steps (scale_betas), and a sampler that begins
// at t = T−1, where training's noise ends. x̂_0 is clipped for ε alone, which divides by √ᾱ near 0.
SchedulerConfig default_scheduler(Prediction prediction = Prediction::v,
                                  BetaSchedule schedule = BetaSchedule::cosine,
                                  std::int64_t timesteps = 1000);

// Makes the schedule's T steps add as much noise as 1000 steps of its β would: β grows as T falls.
// (Improved DDPM's code scales likewise.) With DDPM's β left as it is, 100 steps would end at
// ᾱ = 0.36, and sampling would begin at noise that training never saw. The cosine schedule has no β
// to scale.
void scale_betas(SchedulerConfig& config);

// Throws Error naming the first field that has no meaning or is not supported. (Values of the
// schedule itself are checked by make_schedule.)
void validate(const SchedulerConfig& config);

// Validates, then computes the schedule.
Schedule make_schedule(const SchedulerConfig& config);

}  // namespace sfumato::diffusion
