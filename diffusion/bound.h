// The variational bound of a diffusion model on −log p(x_0), taken apart: DDPM (Ho 2020), eq. 5,
//     −log p(x_0) ≤ L_T + Σ_{t≥1} L_t + L_0,
//     L_T = KL(q(x_T | x_0) ‖ N(0, I)),
//     L_t = KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)),   p's mean is q's with x̂_0 for x_0, its variance q's, β̃_t:
//         = ½ (SNR(t−1) − SNR(t)) ‖x_0 − x̂_0(x_t)‖²          (VDM, Kingma 2021, eq. 13),
//     L_0 = −log p(x_0 | x_1), the last step.
// Where the network says a variance Σ_θ, it stands for β̃_t (reverse_variance.h).
// Timesteps count from 0 here: L_T is of timestep T−1, L_0 of timestep 0, L_t of 1..T−1.
#pragma once
#include <cstdint>
#include <vector>

#include "diffusion/noise_level.h"
#include "diffusion/objective.h"
#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// ½ (SNR(s) − SNR(t)), what L_t multiplies ‖x_0 − x̂_0‖² by; s is the level of timestep t−1.
double bound_weight(const NoiseLevel& s, const NoiseLevel& t);

// The distribution of the last step, around x̂_0 with variance β_0.
enum class LastStep {
  pixels,  // of 256 values, 2 v/255 − 1: a Gaussian cut into bins; the outer ones reach to infinity. DDPM, eq. 13
  density  // a Gaussian density, for data that are no pixels
};

struct BoundOptions {
  LastStep last_step = LastStep::pixels;
  std::uint64_t seed = 0;
  // Timesteps 1..16 are computed each; of the others one in `stride`, which stands for its neighbours.
  std::int64_t stride = 1;
};

// In bits for each number of x_0, averaged over the pictures.
struct VariationalBound {
  struct Term {
    std::int64_t first, count;  // timesteps first..first+count−1
    double bits;                // of all of them together
  };
  double prior = 0;           // L_T
  std::vector<Term> between;  // L_t, t rising
  double last_step = 0;       // L_0
  // Σ of the terms of timesteps in [first, end).
  double bits(std::int64_t first, std::int64_t end) const;
  double total() const;
};

// x0 [N, ...], f32 or f64. The denoiser answers as `prediction` says; one noise is drawn for each picture and timestep.
// Throws Error unless the schedule is of the variance-preserving process and stride >= 1.
VariationalBound variational_bound(const Schedule& schedule, const Prediction& prediction,
                                   const Denoiser& denoiser, const Tensor& x0,
                                   const BoundOptions& options = {});

}  // namespace sfumato::diffusion
