// What the functions of the diffusion process expect of their arguments.
#pragma once
#include <cstdint>

#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// A tensor and the name it has in messages.
struct Named {
  const char* name;
  const Tensor& tensor;
};

// Throws Error naming `op` unless both are defined, f32 or f64, and alike in shape and dtype.
void expect_alike(const char* op, Named x, Named y);
// The same, and that t is i64 [N] inside 0..T−1, a timestep for each of x's N images.
void expect_batch(const char* op, const Schedule& schedule, const Tensor& t, Named x, Named y);

}  // namespace sfumato::diffusion
