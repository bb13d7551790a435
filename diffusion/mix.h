// The one elementwise operation of diffusion: every formula of the derivation has the form
// a_t x + b_t y, with numbers a_t and b_t that depend on the timestep alone.
#pragma once
#include <cstdint>

#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

struct Weights {
  double x, y;
};

// A tensor and the name it has in messages.
struct Named {
  const char* name;
  const Tensor& tensor;
};

// w.x x + w.y y. Shapes and dtypes (f32 or f64) equal; throws Error naming `op`.
Tensor mix(const char* op, Weights w, Named x, Named y);

// Row n (of the outermost axis) with the weights of its own timestep t[n]; t is i64 [N].
// Throws Error naming `op` for a t outside 0..T−1 or of another shape.
Tensor mix(const char* op, const Schedule& schedule, const Tensor& t,
           Weights (*weights)(const Schedule&, std::int64_t t), Named x, Named y);

// What the second form expects of its arguments, for functions that have nothing to mix.
void expect_batch(const char* op, const Schedule& schedule, const Tensor& t, Named x, Named y);

}  // namespace sfumato::diffusion
