// The likelihood of data under a diffusion model, by its probability flow: Song 2021 ("Score-based generative
// modeling through stochastic differential equations"), section 4.3 and appendix D.2. The flow dx̃/dσ̃ = ε̂
// (x̃ = x / a, σ̃ = σ / a) carries data to noise and back without loss, so that densities follow it,
//     log p(x̃_0) = log p_T(x̃_T) + ∫ ∇·ε̂ dσ̃    from the schedule's first level to its last.
// The divergence is a trace, estimated as vᵀ (∂ε̂/∂x̃) v with random signs v (Hutchinson 1989; FFJORD, Grathwohl
// 2019), one for each picture and walk; its mean is the trace. The variational bound (bound.h) is another number: it
// lies above, in bits.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "autograd/var.h"
#include "diffusion/objective.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// The network as sampler.h's Denoiser, through which gradients pass back to x_t.
using DifferentiableDenoiser = std::function<Var(const Var& xt, double t)>;

struct LikelihoodOptions {
  // Of Runge and Kutta's method, even in log σ̃: four evaluations each, forward and backward.
  std::int64_t steps = 50;
  bool exact_trace = false;  // D evaluations for each, D the numbers in a picture: for toys
  std::uint64_t seed = 0;    // of v
};

// log p(x_0) of each picture of x0 [N, ...], f32 or f64, in nats; with the noise of the schedule's first level, σ̃
// about 0.01, at which the flow begins. Where σ̃ ends above 1000, the walk ends there. Gradients of the network's
// parameters are left with what the passes back add to them. Throws Error for steps < 1, or a network whose answer
// has another shape.
std::vector<double> log_likelihood(const Schedule& schedule, const Prediction& prediction,
                                   const DifferentiableDenoiser& denoiser, const Tensor& x0,
                                   const LikelihoodOptions& options = {});

// Pixels of 256 values, 2 v / 255 − 1, as a density can be asked about them: with noise of one value's width,
// uniform, so that the mean of log p is a bound on the log of the pixels' probability (Theis 2016, section 3.1). As
// x0.
Tensor dequantised(const Tensor& x0, std::uint64_t seed);
// −log₂ of the probability of the 256-valued pixels, for each of D numbers, of a density's log p in nats.
double bits_per_number(double log_p, std::int64_t numbers);

}  // namespace sfumato::diffusion
