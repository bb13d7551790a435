// The variance of a step back, p(x_{t−1} | x_t) = N(mean, Σ), fixed or learned. DDPM (Ho 2020) takes β̃_t or β_t, since the
// loss ‖ε − ε_θ‖² says nothing of it. Improved DDPM (Nichol & Dhariwal 2021), section 3.1, has the network say for each
// number of x_t where between the two it lies:
//     Σ_θ = exp(v log β_t + (1 − v) log β̃_t)                (eq. 15)
// Such a network gives twice as many channels as x_t has: the answer, then 2v − 1. It can be trained for likelihood.
#pragma once
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "autograd/ops.h"
#include "autograd/var.h"
#include "diffusion/objective.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// How the variance is come by, and what of it stands in the loss: a row of reverse_variance.cpp,
//     L = simple · L_simple + bound · L_vlb,     L_vlb the variational bound (bound.h) with Σ_θ, in bits for each number.
struct ReverseVariance {
  std::string_view name, help;
  double simple = 1;
  double bound = 0;  // 0: Σ is not learned
  // Whether L_vlb's gradient reaches the answer too; else it teaches Σ_θ alone.
  bool teaches_answer = false;

  bool learned() const { return bound > 0; }

  static const ReverseVariance fixed, hybrid, variational;
  static constexpr const ReverseVariance* all[] = {&fixed, &hybrid, &variational};

  bool operator==(const ReverseVariance& other) const { return name == other.name; }
};

// A network's output taken apart, by the number of channels (the last axis) of x_t: the answer, and 2v − 1 where there is
// one. Both throw Error unless the output has as many channels as x_t, or twice as many.
Var answer_in(const Var& output, std::int64_t channels);
Var variance_in(const Var& output, std::int64_t channels);  // undefined: not learned

// log(β_t / β̃_t), of which v takes a share. At t = 0, where there is no β̃, β̃_1 stands for it (β_0 in a schedule of one step).
double log_variance_range(const Schedule& schedule, std::int64_t t);
double first_posterior_variance(const Schedule& schedule);  // that β̃_1

// KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)) of a number, a double or a Var, where
//     r = log Σ_θ − log β̃_t = v log(β_t / β̃_t),     error = (SNR(t−1) − SNR(t)) (x_0 − x̂_0)²
template <class Number>
Number posterior_kl(const Number& r, const Number& error) {
  using std::exp;
  return (r + exp(-r) * (error + 1.0) + -1.0) * 0.5;
}

// T L_t for random timesteps t, an estimate of L_vlb in bits for each number of x_0: with L_t = posterior_kl for t ≥ 1,
// and L_0 = −log p(x_0 | x_1) of pixels (DDPM, eq. 13), where β̃_1 stands for β̃_0 = 0. Const calls are safe from any thread.
class BoundLoss {
 public:
  BoundLoss(const Prediction& prediction, const Schedule& schedule);

  // answer, variance (2v − 1), target and x0 [N, ...] of one shape and kind, t i64 [N] -> what `reduce` makes of the
  // numbers' estimates [N, ...]: their mean [].
  Var operator()(const Var& answer, const Var& variance, const Tensor& target, const Tensor& t,
                 const Tensor& x0, Var (*reduce)(const Var&) = mean) const;

 private:
  std::vector<double> range_;  // log(β_t / β̃_t)
  std::vector<double> error_;  // (SNR(t−1) − SNR(t)) (∂x̂_0/∂answer)²; 0 at t = 0
  std::vector<double> first_;  // 1 at t = 0, else 0
  double first_slope_ = 0;     // ∂x̂_0/∂answer at t = 0
  double first_log_ = 0;       // log β̃_1
};

}  // namespace sfumato::diffusion
