// Evenly spaced numbers, for schedules that space β or a function of it.
#pragma once
#include <cstdint>
#include <vector>

namespace sfumato::diffusion {

// torch.linspace in float32, bit for bit as it runs on a CPU with AVX2 or AVX-512: from both ends
// towards the middle, a product and a sum rounded once (torch's path without vectors rounds twice,
// so that its own answers differ between machines, by 1.2e-7 in ᾱ). Throws Error unless n >= 1.
std::vector<float> linspace(double first, double last, std::int64_t n);

// Throws Error unless both bounds of β are inside (0, 1).
void expect_beta_bounds(double beta_start, double beta_end);

}  // namespace sfumato::diffusion
