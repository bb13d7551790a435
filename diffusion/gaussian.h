// Data whose best denoiser is known: Gaussians, and mixtures of a few of them. With it a sampler
// can be tested, and watched, without training anything.
//
// Let x_0 ~ N(μ, Σ) and x_t = √ᾱ x_0 + √(1−ᾱ) ε. Then x_t ~ N(√ᾱ μ, C) with C = ᾱ Σ + (1−ᾱ) I, and
// ε and x_t are jointly Gaussian with covariance √(1−ᾱ) I, so that
//     E[ε | x_t] = √(1−ᾱ) C⁻¹ (x_t − √ᾱ μ).
// For a mixture each component k answers so, and the answers are averaged with the probability that
// x_t came from it, r_k ∝ w_k N(x_t; √ᾱ μ_k, C_k). No network can have a lower loss than this.
//
// The same formula read the other way (Tweedie's): E[ε | x_t] = −√(1−ᾱ) ∇ log p(x_t).
#pragma once
#include <cstdint>
#include <vector>

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
Tensor expected_eps(const std::vector<Gaussian>& mixture, double alpha_bar, const Tensor& xt);

// The best network of the given kind for these data.
Denoiser exact_denoiser(const Schedule& schedule, const std::vector<Gaussian>& mixture,
                        Prediction prediction);

}  // namespace sfumato::diffusion
