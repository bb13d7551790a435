// The network of mlp.h, trained on a distribution of plane.h.
#pragma once
#include <cstdint>
#include <functional>

#include "diffusion/objective.h"
#include "diffusion/schedule.h"
#include "diffusion/toy/plane.h"

namespace sfumato::diffusion::toy {

struct LearnOptions {
  std::int64_t steps = 3000, batch = 256, width = 128;
  double lr = 3e-3;
  Prediction prediction = Prediction::v;
  std::uint64_t seed = 0;  // of weights, points, times and noise
  // Called after step k (0..steps−1) with its loss; may be empty.
  std::function<void(std::int64_t k, double loss)> on_step = {};
};

// L = ‖target − network(x_t, t)‖² (DDPM, Ho 2020, eq. 14), with t as EDM draws its noise, log-normal: of most schedules few
// timesteps have as little noise as fine shapes need.
//
// Whatever the schedule's process, the network sees DDPM's x_t with the same signal-to-noise ratio, and t of 0..T−1: its
// inputs are then of size 1 (EDM's c_in), and the answers, being about x_0 and ε, hold for all (path.h). They are computed
// in f32. Throws Error where a loss is not finite.
Answer learn(const Distribution& distribution, const Schedule& schedule,
             const LearnOptions& options);

}  // namespace sfumato::diffusion::toy
