// DDIM walked backwards: from a picture to the noise of which DDIM makes it. An edit walks back with one label and
// forth with another. DDIM (Song 2020), section 4.3.
#pragma once
#include <cstdint>

#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// x_T [N, ...] for pictures x_0 [N, ...], over the chain that DDIM with these options walks (eta 0, nothing clipped).
// A step of DDIM from t to s, solved for x_t, is
//     x_t = a_t / a_s x_s + (σ_t − a_t / a_s σ_s) ε̂(x_t),
// with x_t on both sides. The usual inversion, one refinement, has ε̂(x_s) on the right; each further one puts the
// last x_t in ("ReNoise", Garibi 2024), in flow matching's coordinates x / (a + σ), whose velocity ε̂ − x̂_0 is
// bounded at both ends. One refinement is exact for infinitely many steps, many for any number, where they converge.
// Throws Error for fewer than one.
Tensor invert(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
              const Tensor& x_0, std::int64_t refinements = 1);

}  // namespace sfumato::diffusion
