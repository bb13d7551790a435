#include "diffusion/loss.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "autograd/ops.h"
#include "diffusion/term.h"

namespace sfumato::diffusion {

const LossFunction LossFunction::mse = {
    .name = "mse",
    .help = "(output - target)²",
    .each = [](const Var& output, const Var& target) { return square(output - target); },
    .mean = [](const Var& output, const Var& target) { return sfumato::mse(output, target); },
};

namespace {

// Pseudo-Huber, 2c (√(d² + c²) − c): d² where |d| is well below c, and 2c |d| well above, so that outliers pull less.
// Khrapov 2024, "Improving diffusion models's data-corruption resistance using scheduled pseudo-Huber loss", in the scaling
// of `diffusers`' training scripts, whose c this is.
constexpr double kHuberWidth = 0.1;

Var pseudo_huber(const Var& output, const Var& target) {
  constexpr double c = kHuberWidth;
  return (sqrt(square(output - target) + c * c) + -c) * (2 * c);
}

// The mean of each picture's numbers, [N, ...] -> [N].
Var image_means(const Var& x) {
  std::vector<std::int64_t> extents(static_cast<std::size_t>(x.shape().rank()), 1);
  extents[0] = x.dim(0);
  const double numbers = static_cast<double>(x.value().size()) / static_cast<double>(x.dim(0));
  return reshape(sum_to(x, {extents.data(), extents.data() + extents.size()}) * (1 / numbers),
                 {x.dim(0)});
}

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// The constants of the papers: γ of min-SNR, k and γ of P2, b of the sigmoid, σ_data of EDM.
constexpr double kMinSnrGamma = 5, kP2K = 1, kP2Gamma = 1, kSigmoidBias = 2, kEdmSigmaData = 0.5;

// Where there is no signal, or no noise, in place of an infinite log-SNR.
constexpr double kLargestLogSnr = 30;

double finite_log_snr(const Schedule& schedule, std::int64_t t) {
  return std::clamp(schedule.level(t).log_snr(), -kLargestLogSnr, kLargestLogSnr);
}

// −dλ/du at timestep t, u = t / T, from the timestep before (of the first, to the next one; of one without signal, as one earlier).
double fall_of_log_snr(const Schedule& schedule, std::int64_t t) {
  const std::int64_t T = schedule.steps();
  if (T == 1) return 1;
  std::int64_t at = std::max<std::int64_t>(t, 1);
  if (at > 1 && schedule.level(at).signal_variance == 0) --at;
  return (finite_log_snr(schedule, at - 1) - finite_log_snr(schedule, at)) * static_cast<double>(T);
}

}  // namespace

const LossFunction LossFunction::huber = {
    .name = "huber",
    .help = "pseudo-Huber of width 0.1: outliers pull less",
    .each = pseudo_huber,
    .mean = [](const Var& output,
               const Var& target) { return sfumato::mean(pseudo_huber(output, target)); },
};

const LossWeight LossWeight::constant = {
    .name = "constant", .help = "1, before the error of what the network predicts"};

// Min-SNR-γ (Hang 2023), section 3.4: min(SNR, γ) before the error of x_0.
const LossWeight LossWeight::min_snr = {
    .name = "min_snr",
    .help = "min-SNR-γ, γ = 5",
    .on_eps = [](double l, double) { return std::min(1.0, kMinSnrGamma * std::exp(-l)); },
};

// P2 (Choi 2022): 1 / (k + SNR)^γ before the error of ε.
const LossWeight LossWeight::p2 = {
    .name = "p2",
    .help = "P2, 1 / (1 + SNR) before the error of ε",
    .on_eps = [](double l, double) { return std::pow(kP2K + std::exp(l), -kP2Gamma); },
};

// Before the error of x_0; thus 1 before that of ε, DDPM's (Ho 2020), eq. 14. Salimans & Ho 2022, section 4, which names both.
const LossWeight LossWeight::snr = {
    .name = "snr",
    .help = "SNR before the error of x_0, which is 1 before that of ε",
    .on_eps = [](double, double) { return 1.0; },
};
const LossWeight LossWeight::truncated_snr = {
    .name = "truncated_snr",
    .help = "max(SNR, 1) before the error of x_0",
    .on_eps = [](double l, double) { return std::max(1.0, std::exp(-l)); },
};

// SNR + 1 before the error of x_0, which is 1 before that of v. Salimans & Ho 2022, section 4.
const LossWeight LossWeight::v = {
    .name = "v",
    .help = "SNR + 1 before the error of x_0, which is 1 before that of v",
    .on_eps = [](double l, double) { return 1 + std::exp(-l); },
};

// The bound's integral over the log-SNR, ½ ∫ w(λ) ‖ε − ε̂‖² dλ, with w = 1 and with w a sigmoid. VDM++ (Kingma & Gao 2023);
// its bias b is 2.
const LossWeight LossWeight::elbo = {
    .name = "elbo",
    .help = "as in the variational bound",
    .on_eps = [](double, double fall) { return fall / 2; },
};
const LossWeight LossWeight::sigmoid = {
    .name = "sigmoid",
    .help = "the bound's times sigmoid(2 - log SNR)",
    .on_eps = [](double l, double fall) { return logistic(kSigmoidBias - l) * fall / 2; },
};

// EDM (Karras 2022), table 1: λ(σ) = (σ² + σ_data²) / (σ σ_data)² before the error of x_0, where σ² = 1 / SNR; it makes the error
// of F count 1.
const LossWeight LossWeight::edm = {
    .name = "edm",
    .help = "EDM's, 1 before the error of F",
    .on_eps =
        [](double l, double) {
          return (std::exp(-l) + kEdmSigmaData * kEdmSigmaData) / (kEdmSigmaData * kEdmSigmaData);
        },
};

std::vector<double> loss_weights(const LossWeight& weight, const Prediction& prediction,
                                 const Schedule& schedule) {
  std::vector<double> weights;
  for (std::int64_t t = 0; weight.on_eps && t < schedule.steps(); ++t) {
    const double log_snr = finite_log_snr(schedule, t);
    const NoiseLevel level = schedule.path->at_log_snr(log_snr);
    const double slope = prediction.eps_per_output(level.signal(), level.noise());
    weights.push_back(weight.on_eps(log_snr, fall_of_log_snr(schedule, t)) * slope * slope);
  }
  return weights;
}

Var Loss::weighted(const Var& answer, const Tensor& target, const Tensor& t, Reduce reduce) const {
  if (weights_.empty() && reduce == mean) return function_->mean(answer, Var(target));
  const Var each = function_->each(answer, Var(target));
  if (weights_.empty()) return reduce(each);
  return reduce(Var(per_image(Coefficient(weights_, t), answer.shape().rank(), answer.kind())) *
                each);
}

Var Loss::reduced(const Var& output, const Tensor& target, const Tensor& t, const Tensor& x0,
                  Reduce reduce) const {
  if (!bound_) return weighted(output, target, t, reduce);
  const std::int64_t channels = target.dim(-1);
  const Var answer = answer_in(output, channels), variance = variance_in(output, channels);
  if (!variance.defined())
    throw Error("loss", fmt::format("a learned variance needs an output of {} channels, got {}",
                                    2 * channels, output.dim(-1)));
  const Var taught = variance_.teaches_answer ? answer : Var(answer.value());
  const Var bound = (*bound_)(taught, variance, target, t, x0, reduce) * variance_.bound;
  return variance_.simple == 0 ? bound
                               : weighted(answer, target, t, reduce) * variance_.simple + bound;
}

Var Loss::operator()(const Var& output, const Tensor& target, const Tensor& t,
                     const Tensor& x0) const {
  return reduced(output, target, t, x0, mean);
}

Var Loss::of_images(const Var& output, const Tensor& target, const Tensor& t,
                    const Tensor& x0) const {
  return reduced(output, target, t, x0, image_means);
}

Var Loss::operator()(const Var& output, const Tensor& target, const Tensor& t, const Tensor& x0,
                     ByImage by_image) const {
  if (!by_image.importance.defined()) return (*this)(output, target, t, x0);
  const Var losses = of_images(output, target, t, x0);
  by_image.losses.copy_from(losses.value());
  return mean(Var(by_image.importance) * losses);
}

}  // namespace sfumato::diffusion
