// A small network for points: three hidden layers, each told the time.
#pragma once
#include "nn/layers.h"

namespace sfumato::diffusion::toy {

// Const once built; running it is const and may happen on several threads at once.
class Mlp {
 public:
  Mlp(const nn::Scope& scope, std::int64_t dimensions, std::int64_t width);
  // x f32 [N, dimensions], t [N] or of all points [1], a timestep (i64 or floating) -> [N, dimensions]
  Var operator()(const Var& x, const Tensor& t) const;

 private:
  std::int64_t width_;
  nn::Linear time_, in_, hidden1_, hidden2_, out_;
};

}  // namespace sfumato::diffusion::toy
