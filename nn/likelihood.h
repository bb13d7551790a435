// How likely stored pixels are: probabilities of 256 values, not densities.
#pragma once
#include "autograd/var.h"

namespace sfumato::nn {

// −log P(x), in nats, for pixels x = 2 v/255 − 1, v = 0..255, where P is a logistic distribution with that mean and
// scale s, cut into 256 bins of width 2/255 around the values (Kingma 2016, "Improved variational inference with
// inverse autoregressive flow", section 6.1). With σ the logistic function, b = (x + 1/255 − μ)/s and
// a = (x − 1/255 − μ)/s,
//     P(x) = σ(b) − σ(a);  for v = 0: σ(b), for v = 255: 1 − σ(a), since the outer bins reach to infinity.
// x [...], f32 or f64; mean and log_scale (log s) of x's shape and kind -> the same shape. Differentiable by both.
Var discretized_logistic(const Tensor& x, const Var& mean, const Var& log_scale);

}  // namespace sfumato::nn
