// What samplers do with data whose answers are known: the exact flow, the error of a sampler, and the slope of errors over
// steps.
#pragma once
#include <cstdint>
#include <span>

#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion::toy {

// A chain of options.steps steps as make_chain's, which ends at the schedule's first level, where there still is noise. The
// step from there to the data is Euler's in every solver, and would hide the order of all. Throws Error where make_chain
// throws, and unless 1 <= options.steps < T.
Chain chain_to_first_level(const Schedule& schedule, const SampleOptions& options,
                           const Denoiser& denoiser);

// Where the probability flow takes x from the chain's first level to its last, which must have noise: the Runge-Kutta method
// in 2000 steps, to about 1e-7. They are even in the logarithm of the angle atan(σ / a): small where there is little noise.
Tensor exact_flow(const Chain& chain, const Tensor& x);

// The mean distance of points [N, 2] from where they should be. (Not the root of the mean square: the few points near the
// border between two modes are led to the wrong one by a small error, and would outweigh all others.)
double mean_distance(const Tensor& x, const Tensor& want);

// −d log(error) / d log(steps) between the last two: a method of order p has slope p.
double slope(std::span<const double> steps, std::span<const double> errors);

// The denoiser, and for how many points it was asked.
Denoiser counted(const Denoiser& denoiser, std::int64_t& points);

}  // namespace sfumato::diffusion::toy
