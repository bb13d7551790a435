// How far a network's answer is from its target, and how much each time counts:
//     L = mean of w_t ρ(output − target),
// and the variational bound beside it where the variance is learned (reverse_variance.h).
// A loss function ρ and a weight w are rows of tables. The weights of the papers stand before different errors: SNR
// and min-SNR before ‖x_0 − x̂_0‖², P2 before ‖ε − ε̂‖². For a given x_t these errors and that of the answer itself
// are the same but for factors of the time,
//     ε − ε̂ = ∂ε̂/∂output (target − output),    ‖ε − ε̂‖² = SNR ‖x_0 − x̂_0‖²,
// so that one weight serves networks of every prediction.
#pragma once
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/var.h"
#include "diffusion/objective.h"
#include "diffusion/reverse_variance.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// A loss function: a row of loss.cpp. `each` is ρ of each element's difference, `mean` the mean of it in one operation.
struct LossFunction {
  std::string_view name, help;
  Var (*each)(const Var& output, const Var& target);
  Var (*mean)(const Var& output, const Var& target);

  static const LossFunction mse, huber;
  static constexpr const LossFunction* all[] = {&mse, &huber};

  bool operator==(const LossFunction& other) const { return name == other.name; }
};

// A weight of the times: a row of loss.cpp. A new one is defined there and named in the two lists below.
struct LossWeight {
  std::string_view name, help;
  // w before ‖ε − ε̂‖² at log-SNR λ, where it falls at the rate −dλ/du ("fall"), u = t / T. Null: 1 before the error
  // of the answer, whatever the network predicts.
  double (*on_eps)(double log_snr, double fall) = nullptr;

  static const LossWeight constant, min_snr, p2, snr, truncated_snr, sigmoid, edm, elbo, v;
  static constexpr const LossWeight* all[] = {&constant, &min_snr, &p2,   &snr, &truncated_snr,
                                              &sigmoid,  &edm,     &elbo, &v};

  bool operator==(const LossWeight& other) const { return name == other.name; }
};

// w_0 .. w_{T−1} before (target − output)² of a network of that prediction; none for `constant`. Where the SNR is 0,
// the weight is that of log-SNR −30.
std::vector<double> loss_weights(const LossWeight& weight, const Prediction& prediction,
                                 const Schedule& schedule);

// Where the pictures of a batch do not count alike (Times::importance).
struct ByImage {
  Tensor importance;  // f32 [N]: how much each counts; undefined: 1
  Tensor losses;      // f32 [N]: becomes L of each picture, where importance is defined
};

// L as a function of the network's answer. Const calls are safe from any thread.
class Loss {
 public:
  Loss(const LossFunction& function, const LossWeight& weight, const Prediction& prediction,
       const Schedule& schedule, const ReverseVariance& variance = ReverseVariance::fixed)
      : Loss(function, loss_weights(weight, prediction, schedule)) {
    variance_ = variance;
    if (variance.learned()) bound_.emplace(prediction, schedule);
  }
  // w_0 .. w_{T−1}, or none: 1.
  Loss(const LossFunction& function, std::vector<double> weights)
      : function_(&function), weights_(std::move(weights)) {}

  // output and target [N, ...] of one shape and kind, t i64 [N] in 0..T−1 -> []. Where the variance is learned, the output
  // has twice the target's channels, and x0 is the pictures. Throws Error otherwise.
  Var operator()(const Var& output, const Tensor& target, const Tensor& t,
                 const Tensor& x0 = {}) const;
  // The same with importance, the mean of importance[n] L_n. x0 is needed as above.
  Var operator()(const Var& output, const Tensor& target, const Tensor& t, const Tensor& x0,
                 ByImage by_image) const;
  // L of each picture -> [N]
  Var of_images(const Var& output, const Tensor& target, const Tensor& t,
                const Tensor& x0 = {}) const;

 private:
  using Reduce = Var (*)(const Var& losses);
  Var reduced(const Var& output, const Tensor& target, const Tensor& t, const Tensor& x0,
              Reduce reduce) const;
  Var weighted(const Var& answer, const Tensor& target, const Tensor& t, Reduce reduce) const;

  const LossFunction* function_;
  std::vector<double> weights_;
  ReverseVariance variance_ = ReverseVariance::fixed;
  std::optional<BoundLoss> bound_;
};

}  // namespace sfumato::diffusion
