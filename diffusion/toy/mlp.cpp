#include "diffusion/toy/mlp.h"

namespace sfumato::diffusion::toy {

Mlp::Mlp(const nn::Scope& s, std::int64_t dimensions, std::int64_t width)
    : width_(width),
      time_(s / "time", width, width),
      in_(s / "in", dimensions, width),
      hidden1_(s / "hidden1", width, width),
      hidden2_(s / "hidden2", width, width),
      out_(s / "out", width, dimensions) {}

Var Mlp::operator()(const Var& x, const Tensor& t) const {
  const Var time = silu(time_(Var(nn::sinusoidal_embedding(t, width_, true, 0))));
  Var h = silu(in_(x) + time);
  h = silu(hidden1_(h) + time);
  h = silu(hidden2_(h) + time);
  return out_(h);
}

}  // namespace sfumato::diffusion::toy
