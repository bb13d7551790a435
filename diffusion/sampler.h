// Samplers: from noise back to a picture, with a network that answers "what was the noise?".
//
// The idea. If x_0 were known, the posterior q(x_{t−1} | x_t, x_0) of forward.h would tell how to
// take one step back. The network's answer gives an estimate x̂_0, so use that. DDPM draws from the
// posterior; DDIM chooses another process with the same q(x_t | x_0), which needs less noise or
// none and so can take long steps. Both are one step function; sample() runs either.
//
// To add a sampler: write its step with the arguments of ddpm_step, and a line in sample().
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "diffusion/schedule.h"
#include "diffusion/scheduler_config.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// The network: x_t [N, ...] and the timestep t of all images -> its output, of x_t's shape and
// dtype, of the kind SchedulerConfig::prediction_type.
using Denoiser = std::function<Tensor(const Tensor& xt, std::int64_t t)>;

struct Step {
  Tensor x_prev;  // x at t_prev
  Tensor x0;      // the estimate of x_0 that was used, clipped if so configured
};

// In both steps: t is in 0..T−1 and t_prev < t is where to go, any negative number meaning the
// data. `noise` ~ N(0, I) has xt's shape; it may be undefined where the step's sigma is 0. Throws
// Error for other timesteps, shapes or dtypes.

// One step of ancestral sampling: x_{t−1} = mean(x̂_0, x_t) + σ_t z. DDPM (Ho 2020), algorithm 2.
Step ddpm_step(const Schedule& schedule, const SchedulerConfig& config, const Tensor& output,
               std::int64_t t, std::int64_t t_prev, const Tensor& xt, const Tensor& noise);

// One step of DDIM (Song 2020), eq. 12, with σ_t of eq. 16:
//     x_{t−1} = √ᾱ_{t−1} x̂_0  +  √(1−ᾱ_{t−1}−σ_t²) ε̂  +  σ_t z.
// Why it has the right distribution: with the true x_0 and ε, the last two terms are independent
// Gaussians of variance (1−ᾱ_{t−1}−σ_t²) + σ_t², so x_{t−1} is as eq. 4 of DDPM wants it, whatever
// σ_t is. eta = 0 adds no noise; eta = 1 is ddpm_step with fixed_small.
//
// Where x̂_0 is clipped, x̂_0 and the network's ε̂ no longer make x_t, and the step would lead off the
// noise level it aims at: a little in each step, so that more steps are worse. With
// config.use_clipped_model_output, ε̂ is therefore computed anew: ε̂ = (x_t − √ᾱ_t x̂_0) / √(1−ᾱ_t).
Step ddim_step(const Schedule& schedule, const SchedulerConfig& config, double eta,
               const Tensor& output, std::int64_t t, std::int64_t t_prev, const Tensor& xt,
               const Tensor& noise);

// σ_t of the two steps. ddpm_sigma: √β̃_t (fixed_small) or √β_t (fixed_large), and 0 at t = 0.
// As in `diffusers`, fixed_large thus adds noise in a last step that begins above t = 0.
double ddpm_sigma(const Schedule& schedule, const SchedulerConfig& config, std::int64_t t,
                  std::int64_t t_prev);
// DDIM, eq. 16: σ_t = η √((1−ᾱ_{t−1}) / (1−ᾱ_t)) √(1 − ᾱ_t / ᾱ_{t−1}). Throws unless 0 <= eta <= 1.
double ddim_sigma(const Schedule& schedule, const SchedulerConfig& config, double eta,
                  std::int64_t t, std::int64_t t_prev);

// K timesteps in falling order. Throws unless 1 <= K <= T. As `diffusers` chooses them, but for
// leading spacing where K does not divide T: it takes multiples of T / K rounded down, which for
// 501 of 1000 steps begins at t = 500, in the middle of the noise; here they are i T / K rounded
// down.
std::vector<std::int64_t> timesteps(const SchedulerConfig& config, std::int64_t steps);

// Where step i leads: to the next timestep, and from the last one to the data (−1). For DDIM,
// `diffusers` goes T / K (rounded down) further instead. That is the same where K divides T;
// elsewhere it leaves noise in the picture (all of it for 501 of 1000 steps).
std::int64_t previous_timestep(const std::vector<std::int64_t>& timesteps, std::size_t i);

// What the callback of sample() sees after each step; the references live until it returns.
struct Progress {
  std::int64_t step;    // 0..steps−1
  std::int64_t t;       // the step led from t to t_prev
  std::int64_t t_prev;  // < 0: to the data
  const Tensor& x;      // at t_prev
  const Tensor& x0;     // the estimate of x_0
};

struct SampleOptions {
  SchedulerConfig config = {};
  std::int64_t steps = 50;                            // K
  double eta = 0;                                     // ddim only
  std::uint64_t seed = 0;                             // of the noise in the steps
  std::int64_t first_picture = 0;                     // the number of the picture in row 0
  std::function<void(const Progress&)> on_step = {};  // may be empty
};

// The whole chain, from x_T ~ N(0, I) [N, ...] to x_0. The noise that step i adds to picture p is
// the start of the stream (seed, Purpose::sample_step, p 2²⁰ + i): it depends neither on other
// steps nor on which pictures are drawn together. Throws Error naming the picture and the step
// where a number turns infinite or NaN.
Tensor sample(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
              const Tensor& x_T);

}  // namespace sfumato::diffusion
