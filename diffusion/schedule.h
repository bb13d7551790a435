// The noise schedule: how fast a picture turns into noise.
//
// One step of the forward process shrinks the picture a little and adds a little noise,
//     x_t = √α_t x_{t−1} + √(1−α_t) ε,    β_t = 1 − α_t,
// and t steps together (forward.h shows why) do the same with ᾱ_t = α_0 α_1 ... α_t in α's place.
// A schedule is these three lists. Timesteps count from 0 to T−1, as `diffusers` counts them; the
// papers' t = 1..T is one more. The data itself is "t = −1", with ᾱ = 1.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "diffusion/noise_level.h"
#include "diffusion/path.h"

namespace sfumato::diffusion {

// A noise schedule: a table of β, or the log-SNR as a function of continuous time. A new one is a file of schedules/ that
// defines a row like these, and its name in the two lists below: the command line, the JSON files, the help and the
// tests find it there.
struct BetaSchedule {
  std::string_view name;       // after the papers
  std::string_view diffusers;  // in scheduler_config.json
  std::string_view help;
  // One of the two:
  // β_0 .. β_{T−1}. Throws Error for bounds that it cannot use.
  std::vector<double> (*betas)(std::int64_t steps, double beta_start, double beta_end) = nullptr;
  // log(a² / σ²) at time u in (0, 1], falling; timestep t of T is u = (t + 1) / T. May end at −∞.
  double (*log_snr)(double u) = nullptr;
  bool from_zero = false;  // of log_snr: timestep t of T is u = t / (T − 1) instead
  const Path* path = &Path::variance_preserving;  // the process that is trained with it
  // DDPMScheduler of diffusers does not know the name: the file holds the betas too.
  bool betas_in_file = false;

  static const BetaSchedule linear, scaled_linear, cosine, sigmoid, sigmoid_alpha, laplace,
      exponential, karras, edm, flow;
  static constexpr const BetaSchedule* all[] = {
      &linear,  &scaled_linear, &cosine, &sigmoid, &sigmoid_alpha,
      &laplace, &exponential,   &karras, &edm,     &flow};

  bool operator==(const BetaSchedule& other) const { return name == other.name; }
};

// By either name; throws Error for another.
const BetaSchedule& parse_beta_schedule(std::string_view name);

// Numbers are doubles, and alpha = 1 − beta, alpha_bar = Π alpha hold exactly as far as doubles do.
// But each α is first rounded to float32, since `diffusers` computes its tables so and a network is
// trained on those numbers. What is left between its ᾱ and ours is the rounding of ᾱ itself
// (relative 6e-8); without this rounding it would be up to 1e-6, and up to 5e-4 in 1 − ᾱ_0. The
// price: β_0 = 1e-4 reads 1.000166e-4 here.
struct Schedule {
  std::vector<double> beta;
  std::vector<double> alpha;
  std::vector<double> alpha_bar;
  const Path* path = &Path::variance_preserving;

  // All throw Error unless steps >= 1 and every β, as float32, is inside (0, 1); the last may be 1.
  static Schedule from_betas(std::span<const double> betas);

  // Of a row of BetaSchedule.
  static Schedule make(const BetaSchedule& row, std::int64_t steps, double beta_start,
                       double beta_end);

  // β evenly spaced. DDPM (Ho 2020), section 4.
  static Schedule linear(std::int64_t steps = 1000, double beta_start = 1e-4,
                         double beta_end = 0.02);
  // √β evenly spaced. Latent diffusion (Rombach 2022); the defaults are Stable Diffusion's.
  static Schedule scaled_linear(std::int64_t steps = 1000, double beta_start = 0.00085,
                                double beta_end = 0.012);
  // ᾱ a squared cosine of time. Improved DDPM (Nichol & Dhariwal 2021), eq. 17.
  static Schedule cosine(std::int64_t steps = 1000);
  // The log-SNR evenly spaced from `first` down to `last`: SNR(t−1) / SNR(t) is the same at each step. Throws Error for
  // steps < 2.
  static Schedule even_log_snr(std::int64_t steps, double first = 10, double last = -10);

  std::int64_t steps() const { return static_cast<std::int64_t>(alpha_bar.size()); }
  // ᾱ_t, and 1 for t = −1. Throws Error outside −1..T−1.
  double alpha_bar_at(std::int64_t t) const;
  // (a_t, σ_t) of the path: for DDPM √ᾱ_t and √(1−ᾱ_t). kNoNoise for t = −1. Throws Error outside −1..T−1.
  NoiseLevel level(std::int64_t t) const {
    return t == -1 ? kNoNoise : path->at_alpha_bar(alpha_bar_at(t));
  }

  // Continuous time: t in [0, T−1], straight between two timesteps in σ/a, for the flow in its t; where σ/a of the last
  // timestep is infinite, a/σ is straight before it. Throws Error outside.
  NoiseLevel level_at(double t) const;
  // Its inverse: the t whose level has the signal-to-noise ratio of `level`; 0 and T−1 for levels outside.
  double time_at(const NoiseLevel& level) const;

  // What a network is told at t: t itself, or what the path says.
  double network_time(double t) const;
  // The level of which a network is told so: the inverse.
  NoiseLevel level_told(double network_time) const;
  // network_time for i64 [N]: f32 [N], or t itself where that is what the network is told.
  Tensor network_time(const Tensor& t) const;

  // The same betas, scaled so that nothing of x_0 is left in the end: √ᾱ shifted and stretched to 0 at T−1 and to its old
  // value at 0. "Common diffusion noise schedules and sample steps are flawed" (Lin 2023), algorithm 1.
  Schedule with_zero_terminal_snr() const;
  // σ/a times `shift` at every time: log-SNR less 2 log(shift). For the flow, t' = shift t / (1 + (shift − 1) t). Simple
  // diffusion (Hoogeboom 2023), section 3.1; Stable Diffusion 3 (Esser 2024), eq. 23.
  Schedule shifted(double shift) const;

 private:
  static Schedule from_alpha_bars(const std::vector<double>& alpha_bars, const Path& path);
};

// What is wrong with the schedule's end: sampling begins at N(0, I), as which x_T passes only if
// little of the picture is left in it. Empty where ᾱ_T <= 0.005 (Stable Diffusion's is 0.0047).
std::string terminal_noise_problem(const Schedule& schedule);

}  // namespace sfumato::diffusion
