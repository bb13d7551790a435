// Classifier guidance: Dhariwal & Nichol 2021 ("Diffusion models beat GANs on image synthesis"), section 4. By Bayes' rule
//     ∇ log p(x_t | y) = ∇ log p(x_t) + ∇ log p(y | x_t),
// so a network that draws everything draws one class with the gradient of a classifier added: the row `classifier` of
// guidance.h. Here are the gradients.
#pragma once
#include <functional>

#include "autograd/var.h"
#include "diffusion/guidance.h"
#include "diffusion/noise_level.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// log p(y | x_t) at one level, but for a constant: x_t [N, ...] -> [N], each picture by itself, through which gradients
// pass back to x_t. Gradients of parameters are left with what the passes back add to them.
using LogProbability = std::function<Var(const Var& xt, const NoiseLevel& level)>;

// ∇ log p(y | x_t) of a classifier of noisy pictures, as in the paper.
ScoreOfClass score_of(LogProbability log_p);

// The same of a classifier that knows pictures without noise: asked about the network's x̂_0, as in "Universal guidance"
// (Bansal 2023), section 3.1, by the chain rule
//     ∇ log p(y | x̂_0(x_t)) = (∂x̂_0/∂x_t)ᵀ ∇_{x̂_0} log p.
// There the gradient passes back through the network, which costs twice an evaluation more. Here the network is held fixed,
// and for ∂x̂_0/∂x_t stands that of the best denoiser of data N(0, I), a / (a² + σ²); ΠGDM (Song 2023, "Pseudoinverse-guided
// diffusion models", section 3) takes the same variance σ² / (a² + σ²) of x_0 given x_t. So the step in x̂_0 is
// σ² / (a² + σ²) ∇_{x̂_0} log p: at most the gradient, and less as x̂_0 becomes certain. Exact where data are N(0, I) and
// log p is linear. `log_p`: [N, ...] -> [N]. Before it is asked x̂_0 is cut off at ± range, where it knows pictures.
ScoreOfClass score_of_estimate(std::function<Var(const Var& x0)> log_p, double range = 1);

}  // namespace sfumato::diffusion
