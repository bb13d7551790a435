// How far apart two sets of pictures are: the Fréchet distance between Gaussians fitted to their
// features (Heusel 2017, "GANs trained by a two time-scale update rule", eq. 6; there the features
// are those of the Inception network).
#pragma once
#include "diffusion/eval/interval.h"
#include "tensor/tensor.h"

namespace sfumato::eval {

// ‖μ_a - μ_b‖² + Tr(C_a + C_b - 2 (C_a C_b)^½) for features a [N, D], b [M, D], f32. Throws Error
// unless N and M are at least 2. The estimate is too large by about Tr(C)/N: compare only distances
// of the same N.
double frechet_distance(const Tensor& a, const Tensor& b);

// The same with an interval over the rows of a; those of b are taken as given. A resample costs N D² and D³. Where the two
// sets are from one source the interval is too wide, up to √3 times: the distance is then all noise, and a resample adds to
// that of its sample its own.
Estimate frechet_estimate(const Tensor& a, const Tensor& b, std::int64_t resamples = kResamples);

}  // namespace sfumato::eval
