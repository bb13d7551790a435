#include "09_own_layer/exercise.h"

using namespace sfumato;

RmsNorm::RmsNorm(const nn::Scope& scope, std::int64_t channels) {
  gamma = scope.param("gamma", {channels}, nn::ones());
}

Var RmsNorm::operator()(const Var& x) const {
  std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  Var mean_square = sum_to(square(x), {n, h, w, 1}) * (1.0 / double(c));
  return gamma * x / sqrt(mean_square + kRmsEps);
}
