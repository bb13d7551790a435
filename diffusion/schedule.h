// The noise schedule: how fast a picture turns into noise.
//
// One step of the forward process shrinks the picture a little and adds a little noise,
//     x_t = √α_t x_{t−1} + √(1−α_t) ε,    β_t = 1 − α_t,
// and t steps together (forward.h shows why) do the same with ᾱ_t = α_0 α_1 ... α_t in α's place.
// A schedule is these three lists. Timesteps count from 0 to T−1, as `diffusers` counts them; the
// papers' t = 1..T is one more. The data itself is "t = −1", with ᾱ = 1.
//
// A new schedule is a new way to choose β: compute a list and give it to from_betas.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sfumato::diffusion {

// The names in scheduler_config.json are "linear", "scaled_linear", "squaredcos_cap_v2".
enum class BetaSchedule : std::uint8_t { linear, scaled_linear, cosine };

const char* diffusers_name(BetaSchedule schedule);
BetaSchedule parse_beta_schedule(std::string_view name);

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

  // β evenly spaced. DDPM (Ho 2020), section 4.
  static Schedule linear(std::int64_t steps = 1000, double beta_start = 1e-4,
                         double beta_end = 0.02);
  // √β evenly spaced. Latent diffusion (Rombach 2022); the defaults are Stable Diffusion's.
  static Schedule scaled_linear(std::int64_t steps = 1000, double beta_start = 0.00085,
                                double beta_end = 0.012);
  // ᾱ a squared cosine of time. Improved DDPM (Nichol & Dhariwal 2021), eq. 17.
  static Schedule cosine(std::int64_t steps = 1000);
  static Schedule from_betas(std::span<const double> betas);

  std::int64_t steps() const { return static_cast<std::int64_t>(alpha_bar.size()); }
  // ᾱ_t, and 1 for t = −1. Throws Error outside −1..T−1.
  double alpha_bar_at(std::int64_t t) const;
};

// What is wrong with the schedule's end: sampling begins at N(0, I), as which x_T passes only if
// little of the picture is left in it. Empty where ᾱ_T <= 0.005 (Stable Diffusion's is 0.0047).
std::string terminal_noise_problem(const Schedule& schedule);

// Signal-to-noise ratio ᾱ_t / (1 − ᾱ_t): the variance that the data (of variance 1) have in x_t
// over that of the noise. Variational diffusion models (Kingma 2021), eq. 2. Falls as t grows.
double snr(const Schedule& schedule, std::int64_t t);

}  // namespace sfumato::diffusion
