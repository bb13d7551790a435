// The forward process: from a picture to noise, and what is known of the way back when the picture
// is known.
//
// Images are [N, ...], f32 or f64; t is i64 [N], a timestep in 0..T−1 for each image; eps ~ N(0, I)
// has the images' shape. All functions throw Error for other shapes, dtypes or timesteps.
#pragma once
#include "diffusion/noise_level.h"
#include "diffusion/schedule.h"
#include "diffusion/term.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// One step: x_t = √α_t x_{t−1} + √(1−α_t) ε. DDPM (Ho 2020), eq. 2.
// Shrinking by √α_t makes room for the noise: data of variance 1 keep variance α_t + (1−α_t) = 1.
Tensor q_step(const Schedule& schedule, const Tensor& x_prev, const Tensor& t, const Tensor& eps);

// All steps at once: x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε̄. DDPM, eq. 4.
//
// Why the steps merge. Suppose it holds for t−1, and take one more step:
//     x_t = √α_t (√ᾱ_{t−1} x_0 + √(1−ᾱ_{t−1}) ε̄') + √(1−α_t) ε
//         = √(α_t ᾱ_{t−1}) x_0  +  [√α_t √(1−ᾱ_{t−1}) ε̄' + √(1−α_t) ε].
// In front of x_0 stands √ᾱ_t, as α_t ᾱ_{t−1} = ᾱ_t. The bracket is a sum of two independent
// Gaussians with mean 0; such a sum is again Gaussian, and its variance is the sum of theirs:
//     α_t (1−ᾱ_{t−1}) + (1−α_t) = α_t − ᾱ_t + 1 − α_t = 1 − ᾱ_t.
// So the bracket is √(1−ᾱ_t) ε̄ with one ε̄ ~ N(0, I). (For the first step ᾱ_{−1} = 1.)
Tensor q_sample(const Schedule& schedule, const Tensor& x0, const Tensor& t, const Tensor& eps);

// The coefficients of x_t = a x_0 + σ ε, numbers or one for each image of a batch.
struct Levels {
  Coefficient signal, noise;  // a, σ
};
// One level for all images, and those of the timesteps t, i64 [N].
Levels levels(const NoiseLevel& level);
Levels levels(const Schedule& schedule, const Tensor& t);

// The same with the coefficients given, in whatever process: x_t = a x_0 + σ ε.
Tensor q_sample(const Levels& levels, const Tensor& x0, const Tensor& eps);

// q(x_{t−1} | x_t, x_0) = N(mean, variance I). DDPM, eq. 6 and 7.
//     mean     = √ᾱ_{t−1} β_t / (1−ᾱ_t) x_0  +  √α_t (1−ᾱ_{t−1}) / (1−ᾱ_t) x_t
//     variance = β̃_t = (1−ᾱ_{t−1}) / (1−ᾱ_t) β_t
//
// Derivation, by Bayes' rule: q(x_{t−1} | x_t, x_0) ∝ q(x_t | x_{t−1}) q(x_{t−1} | x_0), a product
// of two Gaussians in x_{t−1}, with the exponent
//     −½ [ (x_t − √α_t x_{t−1})² / β_t + (x_{t−1} − √ᾱ_{t−1} x_0)² / (1−ᾱ_{t−1}) ].
// A quadratic, thus a Gaussian. The factor of x_{t−1}² is its precision (one over the variance):
//     α_t / β_t + 1 / (1−ᾱ_{t−1}) = (α_t − ᾱ_t + β_t) / (β_t (1−ᾱ_{t−1})) = 1 / β̃_t.
// The factor of −2 x_{t−1} is the mean times the precision:
//     mean = β̃_t [ √α_t / β_t x_t + √ᾱ_{t−1} / (1−ᾱ_{t−1}) x_0 ].
struct Posterior {
  Tensor mean;      // [N, ...], as x0
  Tensor variance;  // f64 [N]; 0 at t = 0, where x_{t−1} is x_0 itself
};
Posterior posterior(const Schedule& schedule, const Tensor& x0, const Tensor& xt, const Tensor& t);

// The same for two noise levels, t the noisier one, of any process: from s to t, x_t = α x_s + √β ε with
// α = a_t / a_s and β = σ_t² − α² σ_s². Several steps of DDPM merge into one so (α² = ᾱ_t / ᾱ_s), and eq. 6 and 7 hold
// with s for t−1. Samplers that skip steps use it.
struct PosteriorWeights {
  double x0, xt;    // mean = x0 x_0 + xt x_t
  double variance;  // β̃ = σ_s² β / σ_t²
  double beta;
};
PosteriorWeights posterior_weights(const NoiseLevel& s, const NoiseLevel& t);

}  // namespace sfumato::diffusion
