#include "diffusion/classifier_guidance.h"

#include <fmt/format.h>

#include <utility>

#include "autograd/ops.h"
#include "diffusion/clip.h"
#include "diffusion/forward.h"
#include "tensor/error.h"

namespace sfumato::diffusion {
namespace {

// ∂ (sum of log_p) / ∂x, though the caller may record nothing.
template <class F>
Tensor gradient_at(const Tensor& x, const F& log_p) {
  const WithGrad with_grad;
  const Var leaf(x, /*requires_grad=*/true);
  const Var each = log_p(leaf);
  if (each.shape() != Shape{x.dim(0)})
    throw Error("classifier guidance",
                fmt::format("expected log p(y | x) of each picture, [{}], got {}", x.dim(0),
                            each.shape().str()));
  if (!each.requires_grad()) return Tensor::zeros(x.shape(), x.kind());
  sum(each).backward();
  return leaf.grad();
}

}  // namespace

ScoreOfClass score_of(LogProbability log_p) {
  return [log_p = std::move(log_p)](const NoiseLevel& level, const Tensor& xt, const Estimate&) {
    return gradient_at(xt, [&](const Var& x) { return log_p(x, level); });
  };
}

ScoreOfClass score_of_estimate(std::function<Var(const Var& x0)> log_p, double range) {
  return [log_p = std::move(log_p), range](const NoiseLevel& level, const Tensor&,
                                           const Estimate& said) -> Tensor {
    const Tensor g = gradient_at(cut_off(said.x0, range), log_p);
    const double jacobian = level.signal() / (level.signal_variance + level.noise_variance);
    return jacobian * g;
  };
}

}  // namespace sfumato::diffusion
