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

namespace sfumato::diffusion {

// A way to choose β. A new one is a file of schedules/ that defines a row like these, and its name in the two lists
// below: the command line, the JSON files, the help and the tests find it there.
struct BetaSchedule {
  std::string_view name;       // after the papers
  std::string_view diffusers;  // in scheduler_config.json
  std::string_view help;
  // β_0 .. β_{T−1}. Throws Error for bounds that it cannot use.
  std::vector<double> (*betas)(std::int64_t steps, double beta_start, double beta_end);

  static const BetaSchedule linear, scaled_linear, cosine;
  static constexpr const BetaSchedule* all[] = {&linear, &scaled_linear, &cosine};

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

  // All throw Error unless steps >= 1 and every β, as float32, is inside (0, 1).
  static Schedule from_betas(std::span<const double> betas);

  // β evenly spaced. DDPM (Ho 2020), section 4.
  static Schedule linear(std::int64_t steps = 1000, double beta_start = 1e-4,
                         double beta_end = 0.02);
  // √β evenly spaced. Latent diffusion (Rombach 2022); the defaults are Stable Diffusion's.
  static Schedule scaled_linear(std::int64_t steps = 1000, double beta_start = 0.00085,
                                double beta_end = 0.012);
  // ᾱ a squared cosine of time. Improved DDPM (Nichol & Dhariwal 2021), eq. 17.
  static Schedule cosine(std::int64_t steps = 1000);

  std::int64_t steps() const { return static_cast<std::int64_t>(alpha_bar.size()); }
  // ᾱ_t, and 1 for t = −1. Throws Error outside −1..T−1.
  double alpha_bar_at(std::int64_t t) const;
  // √ᾱ_t and √(1−ᾱ_t). Throws Error outside −1..T−1.
  NoiseLevel level(std::int64_t t) const { return variance_preserving(alpha_bar_at(t)); }
};

// What is wrong with the schedule's end: sampling begins at N(0, I), as which x_T passes only if
// little of the picture is left in it. Empty where ᾱ_T <= 0.005 (Stable Diffusion's is 0.0047).
std::string terminal_noise_problem(const Schedule& schedule);

}  // namespace sfumato::diffusion
