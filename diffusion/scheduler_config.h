// The fields of a `diffusers` scheduler_config.json, as values: which schedule a network was
// trained with, what it predicts, and how its sampler walks back. A field is a member, whose initial
// value is diffusers' default for a missing key, and an entry in scheduler_fields.h: its key and the
// values it may have. scheduler_file.h reads and writes the file.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion/names.h"
#include "diffusion/objective.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

struct Chain;

// How K of the T timesteps are chosen. Lin 2023, "Common diffusion noise schedules and sample steps
// are flawed", table 2: only trailing always begins at t = T−1, where training's noise ends. Karras and log_snr choose
// σ / a instead: even in its seventh root (EDM, Karras 2022, eq. 5), and even in log-SNR. shifted: trailing, with more of
// the steps where there is much noise: of τ = (t + 1) / T becomes 2τ / (1 + τ), no longer a whole t (Esser 2024, eq. 23;
// for flow matching that doubles σ / a).
enum class Spacing : std::uint8_t { leading, trailing, linspace, karras, log_snr, shifted };
// Not constexpr: nvcc does not take a row whose one name stands for both.
inline const EnumName<Spacing> kSpacings[] = {
    {Spacing::leading, "leading"}, {Spacing::trailing, "trailing"}, {Spacing::linspace, "linspace"},
    {Spacing::karras, "karras"},   {Spacing::log_snr, "log_snr"},   {Spacing::shifted, "shifted"}};

// A way back from noise to a picture. A new one is a file of samplers/ that defines a row like these, and its name in
// the two lists below: the command line, the JSON files, the help and the tests find it there. sampler.h says what a
// sampler sees and does.
struct Sampler {
  // A key that the class has in scheduler_config.json for a choice that is not open here, and the value, as JSON, that is
  // computed. (null stands for −∞ too, and is not written.)
  struct Setting {
    std::string_view key, value;
    bool needed = false;       // a file without the key means another value
    bool of_training = false;  // with another value the file is of another schedule
  };
  // A key and its value, as JSON, with which the class says a spacing of σ.
  struct SigmaSpacing {
    std::string_view key, value;
    Spacing spacing;
  };
  static constexpr SigmaSpacing kSigmaFlags[] = {
      {"use_karras_sigmas", "true", Spacing::karras},
      {"use_exponential_sigmas", "true", Spacing::log_snr},
      {"use_lu_lambdas", "true", Spacing::log_snr}};
  static constexpr SigmaSpacing kSigmaSchedules[] = {
      {"sigma_schedule", R"("karras")", Spacing::karras},
      {"sigma_schedule", R"("exponential")", Spacing::log_snr}};
  // A prediction that the class knows, by the name that it has there.
  struct PredictionName {
    std::string_view name;
    const Prediction* prediction;
  };
  static constexpr PredictionName kFlowPredictions[] = {{"flow_prediction", &Prediction::flow}};
  static constexpr PredictionName kEdmPredictions[] = {{"epsilon", &Prediction::edm},
                                                       {"v_prediction", &Prediction::edm_v}};

  // Which timesteps the class chooses of a spacing.
  enum class Grid : std::uint8_t {
    whole,         // K, rounded
    without_last,  // K + 1, rounded, but for the last: the DPM-Solver classes
    fractional     // K, not rounded: k-diffusion's
  };

  std::string_view name;                       // after the papers
  std::string_view diffusers = {};             // `_class_name` in scheduler_config.json
  std::string_view pipeline = "DDPMPipeline";  // `_class_name` in model_index.json
  std::string_view field = {};  // the field of SchedulerConfig that its class alone has in the file
  bool may_end_at_first_level = false;  // at ᾱ_0 instead of at the data: without set_alpha_to_one
  bool ends_at_first_level = false;     // always
  std::span<const Setting> settings = {};
  Grid grid = Grid::whole;
  std::span<const SigmaSpacing> sigma_spacings = {};
  const BetaSchedule* schedule = nullptr;  // not null: the class knows this one alone, and no betas
  std::span<const PredictionName> predictions = {};  // of that schedule
  bool takes_eta = false;    // SampleOptions::eta says how much noise its steps add
  bool takes_both = false;   // its step is a x̂_0 + σ ε̂: the two may be of different estimates
  bool one_picture = false;  // its steps depend on x: pictures are drawn one by one
  bool restarts = false;     // by itself: SampleOptions::restart would restart within restarts
  std::string_view help = {};
  std::int64_t default_steps = 0;  // 0: all T
  Tensor (*sample)(const Chain& chain, Tensor x_T);

  static const Sampler ddim, ddpm, euler, euler_ancestral, heun, dpm2, dpm2_ancestral, dpmpp_2s,
      dpmpp_2m, dpmpp_3m, dpmpp_2m_sde, dpmpp_3m_sde, lms, plms, deis, unipc, sa_solver, edm,
      restart, dopri5, flow_euler, flow_heun, edm_euler, edm_dpmpp_2m, midpoint, rk4;
  static constexpr const Sampler* all[] = {
      &ddim,       &ddpm,      &euler,          &euler_ancestral,
      &heun,       &dpm2,      &dpm2_ancestral, &dpmpp_2s,
      &dpmpp_2m,   &dpmpp_3m,  &dpmpp_2m_sde,   &dpmpp_3m_sde,
      &lms,        &plms,      &deis,           &unipc,
      &sa_solver,  &edm,       &restart,        &dopri5,
      &flow_euler, &flow_heun, &edm_euler,      &edm_dpmpp_2m,
      &midpoint,   &rk4};

  // One of them, by which the probability flow is followed to its end, for others to be compared with.
  static const Sampler& flow_reference;

  bool operator==(const Sampler& other) const { return name == other.name; }
  // Whether SchedulerConfig::variance_type says how much noise its steps add.
  bool takes_variance() const { return field == "variance_type"; }

  // The name of a prediction in `predictions`, and the prediction of a name; null where it is none of them.
  const std::string_view* name_of(const Prediction& prediction) const;
  const Prediction* prediction_of(std::string_view name) const;
};

// The noise of a DDPM step: the posterior's variance β̃_t, or β_t. DDPM, section 3.2: the two are
// the right choices for data that is one point, and for data that is N(0, I). learned_range: between the two, as the
// network says (reverse_variance.h).
enum class Variance : std::uint8_t { fixed_small, fixed_large, learned_range };
// By either name; each throws Error for another.
const Sampler& parse_sampler(std::string_view name);
std::string_view name(Variance variance);
Variance parse_variance(std::string_view name);
std::string_view name(Spacing spacing);
Spacing parse_spacing(std::string_view name);

struct SchedulerConfig {
  Sampler sampler = Sampler::ddpm;
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
  std::int64_t steps_offset = 0;        // leading only
  bool rescale_betas_zero_snr = false;  // Schedule::with_zero_terminal_snr
  double shift = 1;                     // Schedule::shifted
  bool thresholding = false;            // dynamic thresholding (clip.h) in the place of clip_sample
  double dynamic_thresholding_ratio = 0.995;
  double sample_max_value = 1;  // 1: as clip_sample
};

// What a new network is trained with: β scaled to T steps (scale_betas), and a sampler that begins
// at t = T−1, where training's noise ends.
SchedulerConfig default_scheduler(const Prediction& prediction = Prediction::v,
                                  const BetaSchedule& schedule = BetaSchedule::cosine,
                                  std::int64_t timesteps = 1000);

// Makes the schedule's T steps add as much noise as 1000 steps of its β would: β grows as T falls.
// (Improved DDPM's code scales likewise.) With DDPM's β left as it is, 100 steps would end at
// ᾱ = 0.36, and sampling would begin at noise that training never saw. The cosine schedule has no β
// to scale.
void scale_betas(SchedulerConfig& config);

// Throws Error naming the first field that has no meaning or is not supported. (Values of the
// schedule itself are checked by make_schedule.)
void validate(const SchedulerConfig& config);

// Why a network cannot be trained, or sampled, as `config` says, although each of its fields has a meaning; empty
// where it can. A schedule that ends without signal leaves nothing to a network whose answer says nothing of x_0
// there.
std::string combination_problem(const SchedulerConfig& config);

// Validates, then computes the schedule.
Schedule make_schedule(const SchedulerConfig& config);

}  // namespace sfumato::diffusion
