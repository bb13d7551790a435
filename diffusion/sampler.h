// Samplers: from noise back to a picture, with a network that answers "what was the noise?".
//
// The idea. If x_0 were known, the posterior q(x_{t−1} | x_t, x_0) of forward.h would tell how to
// take one step back. The network's answer gives an estimate x̂_0, so use that. DDPM draws from the
// posterior; DDIM chooses another process with the same q(x_t | x_0), which needs less noise or
// none and so can take long steps.
//
// A sampler is one function in a file of samplers/, which reads like the paper's algorithm:
//     Tensor sample_it(const Chain& chain, Tensor x) {
//       for (std::int64_t i = 0; i < chain.steps(); ++i) {
//         const auto [x0, eps] = chain.estimate(i, x);
//         x = ... chain.levels[i], chain.levels[i + 1], chain.noise(i, x) ...;
//         chain.done(i, x, x0);
//       }
//       return x;
//     }
// What it keeps from earlier steps are local variables of that function.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "diffusion/guidance.h"
#include "diffusion/noise_level.h"
#include "diffusion/schedule.h"
#include "diffusion/scheduler_config.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// The network: x_t [N, ...] and the time t of all images (Schedule::network_time: of DDPM a timestep 0..T−1, or between
// two) ->
// its output, of x_t's shape and dtype, of the kind SchedulerConfig::prediction_type; or of twice the channels, where a
// learned variance follows (reverse_variance.h). Where SampleOptions::self_condition says so, x_t comes with the last
// estimate of x_0 beside it, [..., 2C].
using Denoiser = std::function<Tensor(const Tensor& xt, double t)>;

// What a callback sees after each step; the references live until it returns.
struct Progress {
  std::int64_t step;  // 0..steps−1
  double t;           // the time of the network's answer
  const Tensor& x;    // after the step
  const Tensor& x0;   // the estimate of x_0
};

// What the network's answers are guided away from, by a row of guidance.h: those of `away`, which is asked the same; or,
// for a row `by_classifier`, what they are led by. With neither there is no guidance.
struct Guide {
  Guidance method = Guidance::cfg;
  double scale = 1;
  Denoiser away = {};
  ScoreOfClass score = {};
};

// Changes an estimate about x of this level, after guidance and clipping: what an edit knows of x_0 (editing.h).
using Correct = std::function<void(const NoiseLevel& level, const Tensor& x, Estimate& estimate)>;

class FiniteCheck;

// The way that a sampler walks, K steps from noise to a picture.
struct Chain {
  SchedulerConfig config = {};          // what the network predicts, and how its answer is used
  double eta = 0;                       // ddim only
  bool restart = false;                 // of SampleOptions
  std::vector<double> times = {};       // [K]: of x before each step, for the network
  std::vector<NoiseLevel> levels = {};  // [K + 1]: of x before each step, and of the result
  Denoiser denoiser = {};
  Guide guide = {};
  const Path* path = &Path::variance_preserving;  // of the levels
  std::optional<NoiseLevel> first = {};           // of the whole walk, where this is a part of one
  NoiseLevel lowest = {1, 1e-6};                  // of the schedule, that of timestep 0
  // What the network is told at a level of this path that is not in the list.
  std::function<double(const NoiseLevel&)> time_at = {};
  // z ~ N(0, I) for one step, of x's shape and dtype; the same whenever it is asked for.
  std::function<Tensor(std::int64_t step, const Tensor& x)> noise = {};
  std::int64_t first_picture = 0;                     // the number of the picture in row 0
  std::function<void(const Progress&)> on_step = {};  // may be empty
  Correct correct = {};                               // may be empty

  std::int64_t steps() const { return static_cast<std::int64_t>(times.size()); }

  // Asks the network about x, which has the noise of levels[step]. Throws Error unless the answer has x's shape and
  // dtype.
  //
  // Where x̂_0 is clipped, x̂_0 and the network's ε̂ no longer make x_t, and a step would lead off the
  // noise level it aims at: a little in each step, so that more steps are worse. With
  // config.use_clipped_model_output, ε̂ is therefore computed anew: ε̂ = (x_t − a x̂_0) / σ.
  //
  // `variance`, where given, becomes 2v − 1 of a learned variance (reverse_variance.h), or undefined.
  Estimate estimate(std::int64_t step, const Tensor& x, Tensor* variance = nullptr) const;
  // The same at any level of the path.
  Estimate estimate(const NoiseLevel& level, const Tensor& x) const;

  // To be called after each step with its result and the x̂_0 that it used. Throws Error naming the picture and the step
  // where x is infinite or NaN: on a GPU, for which nobody waits at each step, some steps later, but at the last one.
  void done(std::int64_t step, const Tensor& x, const Tensor& x0) const;
  mutable std::shared_ptr<FiniteCheck> finite =
      {};                            // what `done` has seen; the first call makes it
  mutable Tensor guide_memory = {};  // Guidance's, from the first estimate of a walk to its end
  bool self_condition = false;
  // What the denoiser last said of x_0, in the same walk; undefined before the first time: it is told zeros.
  mutable Tensor last_x0 = {};
};

// A sampler's function, Sampler::sample.
using Walk = std::function<Tensor(const Chain& chain, const Tensor& x)>;
// x walked down the chain by it, part of the way several times with new noise before each (samplers/restart.cpp).
Tensor walk_with_restarts(const Chain& chain, Tensor x, const Walk& walk);

struct SampleOptions {
  SchedulerConfig config = {};
  std::int64_t steps = 50;  // K
  double eta = 0;           // ddim only
  bool restart = false;     // walk_with_restarts, by the config's sampler
  Guide guide = {};
  std::uint64_t seed = 0;                             // of the noise in the steps
  std::int64_t first_picture = 0;                     // the number of the picture in row 0
  std::function<void(const Progress&)> on_step = {};  // may be empty
  Correct correct = {};                               // may be empty
  // Self-conditioning (Analog Bits, Chen 2022, algorithm 2): the denoiser is told what it last said of x_0 in this walk,
  // before guidance, as it was told in training (told_estimate in self_condition.h); what it is guided away from is told
  // the same.
  bool self_condition = false;
};

// The chain over K timesteps of a schedule, or over K levels from the schedule's last σ / a to its first: each step
// leads to the next one, the last one to the data (for deis and sa_solver, and for ddim and plms without
// config.set_alpha_to_one, to ᾱ_0). For DDIM, `diffusers` goes T / K (rounded down) further instead. That is the same
// where K divides T; elsewhere it leaves noise in the picture (all of it for 501 of 1000 steps).
//
// The noise that step i adds to picture p is the start of the stream (seed, Purpose::sample_step, p 2²⁰ + i): it depends
// neither on other steps nor on which pictures are drawn together.
Chain make_chain(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser);

// How often the network is asked on such a chain. (A sampler that chooses its steps by the answers asks as often as
// for a network that always answers 0.)
std::int64_t evaluations(const Schedule& schedule, const SampleOptions& options);
// Whether the steps of such a chain add noise: without it, the way from x_T to the picture is the probability flow's.
bool adds_noise(const Schedule& schedule, const SampleOptions& options);

// x_T ~ N(0, I) at the size that x has at the chain's first level (σ = 80 in EDM's process).
Tensor start(const Chain& chain, const Tensor& x_T);
// From x [N, ...] of the chain's first level to x_0 with the sampler chain.config.sampler; where the chain ends at ᾱ_0, to
// DDPM's x of that level.
Tensor walk(const Chain& chain, const Tensor& x);

// From x_T ~ N(0, I) [N, ...] to x_0 with the sampler options.config.sampler. walk(start()).
Tensor sample(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
              const Tensor& x_T);

}  // namespace sfumato::diffusion
