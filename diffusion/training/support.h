// What the loops of training.h share.
#pragma once
#include <cstdint>

#include "diffusion/pipeline.h"
#include "diffusion/schedule.h"
#include "tensor/rng.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion::training {

// The random numbers of step k. Two purposes' streams, as `train` draws them.
inline Tensor random_index(std::uint64_t seed, std::int64_t k, std::int64_t n, std::int64_t bound) {
  return Rng(seed, Purpose::timestep, static_cast<std::uint64_t>(k)).randint({n}, bound);
}
inline Tensor noise(std::uint64_t seed, std::int64_t k, const Shape& shape) {
  return Rng(seed, Purpose::noise, static_cast<std::uint64_t>(k)).normal(shape);
}

// f of every element of an i64 tensor.
template <class F>
Tensor map(const Tensor& x, F f) {
  Tensor y = x.clone();
  for (std::int64_t& value : y.values<std::int64_t>()) value = f(value);
  return y;
}

// Throws Error naming `op` unless the network predicts v of the variance-preserving process.
void expect_v(const char* op, const Pipeline& model);

// ‖target − network(x_t, t)‖² of pictures x0, noise eps and times t, i64 [N].
struct Sample {
  Tensor x0, eps, t, labels;
};
Var denoising_loss(const Pipeline& model, const Schedule& schedule, const Sample& sample);

}  // namespace sfumato::diffusion::training
