#include "diffusion/reverse_variance.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/term.h"

namespace sfumato::diffusion {

const ReverseVariance ReverseVariance::fixed = {.name = "fixed", .help = "DDPM's, not learned"};
// Improved DDPM, eq. 16: λ = 0.001, and the answer is taught by L_simple alone.
const ReverseVariance ReverseVariance::hybrid = {
    .name = "hybrid", .help = "learned: L_simple + 0.001 L_vlb", .bound = 0.001};
const ReverseVariance ReverseVariance::variational = {.name = "variational",
                                                      .help = "learned: L_vlb alone",
                                                      .simple = 0,
                                                      .bound = 1,
                                                      .teaches_answer = true};

namespace {

// Whether a network that gives so many channels says a variance.
bool says_variance(const Var& output, std::int64_t channels) {
  const std::int64_t given = output.dim(-1);
  if (given != channels && given != 2 * channels)
    throw Error("network", fmt::format("expected an output of {} channels, or of {} with a learned "
                                       "variance, got {}",
                                       channels, 2 * channels, given));
  return given != channels;
}

// ∂x̂_0/∂answer, from ε̂ = (x_t − a x̂_0) / σ.
double x0_per_answer(const Prediction& prediction, const NoiseLevel& level) {
  return -level.sigma() * prediction.eps_per_output(level.signal(), level.noise());
}

// The distribution function of N(0, 1) as Page (1977) approximates it, within 2e-4; Improved DDPM's code does so too.
Var normal_below(const Var& z) {
  const double root = std::sqrt(2 / std::numbers::pi);
  return (tanh((z + square(z) * z * 0.044715) * root) + 1.0) * 0.5;
}

// 1 where x, a pixel 2 k/255 − 1, is 1; 0 at the others.
Var is_white(const Var& x) { return relu((x + -1.0) * (255.0 / 2) + 1.0); }

// −log of the probability that N(x + off, 1 / inverse_sigma²) gives a pixel the value x.
Var pixel_nats(const Var& x, const Var& off, const Var& inverse_sigma) {
  constexpr double kHalfBin = 1.0 / 255, kSmallest = 1e-12;
  const Var white = is_white(x), black = is_white(-x);  // their bins reach to infinity
  const Var below = normal_below((-off + kHalfBin) * inverse_sigma);
  const Var below_bin = normal_below((-off + -kHalfBin) * inverse_sigma);
  const Var p = below * (-white + 1.0) + white - below_bin * (-black + 1.0);
  return -log(relu(p + -kSmallest) + kSmallest);
}

}  // namespace

Var answer_in(const Var& output, std::int64_t channels) {
  return says_variance(output, channels) ? slice_last(output, 0, channels) : output;
}

Var variance_in(const Var& output, std::int64_t channels) {
  return says_variance(output, channels) ? slice_last(output, channels, 2 * channels) : Var();
}

double first_posterior_variance(const Schedule& schedule) {
  return schedule.steps() == 1 ? schedule.level(0).noise_variance
                               : posterior_weights(schedule.level(0), schedule.level(1)).variance;
}

double log_variance_range(const Schedule& schedule, std::int64_t t) {
  const PosteriorWeights q = posterior_weights(schedule.level(t - 1), schedule.level(t));
  return std::log(q.beta / (t == 0 ? first_posterior_variance(schedule) : q.variance));
}

BoundLoss::BoundLoss(const Prediction& prediction, const Schedule& schedule) {
  for (std::int64_t t = 0; t < schedule.steps(); ++t) {
    const NoiseLevel before = schedule.level(t - 1), here = schedule.level(t);
    const double slope = x0_per_answer(prediction, here);
    first_.push_back(t == 0);
    range_.push_back(log_variance_range(schedule, t));
    error_.push_back(t == 0 ? 0 : (before.snr() - here.snr()) * slope * slope);
  }
  first_slope_ = x0_per_answer(prediction, schedule.level(0));
  first_log_ = std::log(first_posterior_variance(schedule));
}

Var BoundLoss::operator()(const Var& answer, const Var& variance, const Tensor& target,
                          const Tensor& t, const Tensor& x0, Var (*reduce)(const Var&)) const {
  const auto at = [&](const std::vector<double>& table) {
    return Var(per_image(Coefficient(table, t), answer.shape().rank(), answer.kind()));
  };
  const Var miss = answer - Var(target), first = at(first_);
  const Var r = (variance * 0.5 + 0.5) * at(range_);
  const Var kl = posterior_kl(r, at(error_) * square(miss));
  const Var inverse_sigma = exp((r + first_log_) * -0.5);
  const Var decoder = pixel_nats(Var(x0), miss * first_slope_, inverse_sigma);
  const auto T = static_cast<double>(range_.size());
  return reduce(first * decoder + (-first + 1.0) * kl) * (T / std::numbers::ln2);
}

}  // namespace sfumato::diffusion
