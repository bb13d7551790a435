// Mixtures of uniform distributions on rectangles, and their best denoiser in closed form.
//
// Given x_t = a x_0 + σ ε, the x_0 of one rectangle is N(x_t / a, (σ / a)² I) cut off at its sides: along each axis a
// truncated normal, whose mass and mean are known. With α and β the sides' distances from x_t / a in units of σ / a,
//     mass = Φ(β) − Φ(α),    mean = x_t / a + σ / a (φ(α) − φ(β)) / mass.
// Of several rectangles the means are averaged with the probability that x_t came from each: area times density times mass.
#pragma once
#include <cstdint>
#include <span>

#include "diffusion/noise_level.h"
#include "diffusion/objective.h"
#include "tensor/rng.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion::toy {

struct Box {
  double low[2], high[2];  // low < high along both axes
};

// n points, even over the boxes -> f32 [n, 2]. The boxes must be of one size and at least one.
Tensor draw_boxes(std::span<const Box> boxes, std::int64_t n, Rng rng);

// E[x_0 | x_t] and E[ε | x_t] of boxes of one size, of the shape and dtype of xt, f32 or f64 [N, 2]; computed in doubles.
// Without signal the former is the boxes' mean. Throws Error for another shape.
Estimate expected(std::span<const Box> boxes, const NoiseLevel& level, const Tensor& xt);

// N(0, 1) cut off at α < β: the logarithm of its mass before, and its mean. To 1e-7 of β − α also far out in a tail, where
// Φ(β) − Φ(α) is 0 in doubles, and where β − α is small.
struct TruncatedNormal {
  double log_mass, mean;
  TruncatedNormal(double alpha, double beta);
};

}  // namespace sfumato::diffusion::toy
