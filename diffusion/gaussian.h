// Data whose best denoiser is known: Gaussians, and mixtures of a few of them. With it a sampler
// can be tested, and watched, without training anything.
//
// Let x_0 ~ N(μ, Σ) and x_t = a x_0 + σ ε. Then x_t ~ N(a μ, C) with C = a² Σ + σ² I, and
// ε and x_t are jointly Gaussian with covariance σ I, so that
//     E[ε | x_t] = σ C⁻¹ (x_t − a μ).
// For a mixture each component k answers so, and the answers are averaged with the probability that
// x_t came from it, r_k ∝ w_k N(x_t; a μ_k, C_k). No network can have a lower loss than this.
//
// The same formula read the other way (Tweedie's): E[ε | x_t] = −σ ∇ log p(x_t).
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "diffusion/noise_level.h"
#include "diffusion/objective.h"
#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

struct Gaussian {
  double weight = 1;         // in a mixture; need not sum to 1
  std::vector<double> mean;  // D numbers
  std::vector<double>
      covariance;  // D: its diagonal; D*D: all of it, symmetric and positive definite
};

// E[ε | x_t = xt] at one noise level. xt is [N, ...] with D numbers a row; computed in doubles.
// Throws Error for sizes that do not fit, a weight below 0 (or all 0), or a covariance that is not
// positive definite.
Tensor expected_eps(const std::vector<Gaussian>& mixture, const NoiseLevel& level,
                    const Tensor& xt);

// E[x_0 | x_t] and E[ε | x_t]. Without signal x_t says nothing, and the former is the data's mean. Throws as expected_eps.
Estimate expected(const std::vector<Gaussian>& mixture, const NoiseLevel& level, const Tensor& xt);

// The best network of the given kind for these data: on a schedule's timesteps, and in a process of any kind, whose noise
// level at time t is level(t).
Denoiser exact_denoiser(const Schedule& schedule, const std::vector<Gaussian>& mixture,
                        const Prediction& prediction);
Denoiser exact_denoiser(const std::function<NoiseLevel(double t)>& level,
                        const std::vector<Gaussian>& mixture, const Prediction& prediction);

}  // namespace sfumato::diffusion
