// Data in the plane, small enough to see: mixtures of Gaussians, whose best denoiser gaussian.h knows exactly.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "diffusion/gaussian.h"
#include "tensor/rng.h"

namespace sfumato::diffusion::toy {

// A mixture by name; throws Error for another:
//   ring   eight narrow Gaussians on a circle of radius 1
//   two    two Gaussians, one of them with a third of the other's weight
//   grid   nine narrow Gaussians on a square grid
std::vector<Gaussian> mixture(std::string_view name);

// n points -> f32 [n, D]. Throws Error unless each covariance is a diagonal (D numbers).
Tensor draw(const std::vector<Gaussian>& mixture, std::int64_t n, Rng rng);

}  // namespace sfumato::diffusion::toy
