#include "diffusion/guidance.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "tensor/error.h"

namespace sfumato::diffusion {
namespace {

// ⟨a, b⟩ of each picture, [N, 1, ...]. Pictures are arithmetic of Vars here, which nothing records.
Var dot(const Var& a, const Var& b) {
  std::vector<std::int64_t> extents(static_cast<std::size_t>(a.shape().rank()), 1);
  extents[0] = a.dim(0);
  return sum_to(a * b, {extents.data(), extents.data() + extents.size()});
}

double numbers_in_a_picture(const Var& x) {
  return static_cast<double>(x.value().size()) / static_cast<double>(x.dim(0));
}

// Σ (x − mean)² of each picture.
Var square_deviation(const Var& x) {
  const Var one(Tensor::full(x.shape(), 1, x.kind()));
  const Var centred = x - dot(x, one) * (1 / numbers_in_a_picture(x));
  return dot(centred, centred);
}

// Where a picture is all zeros.
constexpr double kTiny = 1e-8;

Estimate classifier_free(const Answers& a, double w) {
  return a.estimate(guided(a.good, a.away, w));
}

// w_t = 1 + 2 (w − 1)(1 − τ), with τ = 2/π arctan(σ / a), the cosine schedule's t / T.
Estimate rising_scale(const Answers& a, double w) {
  const double tau = 2 / std::numbers::pi * std::atan(a.level.sigma());
  return classifier_free(a, 1 + 2 * (w - 1) * (1 - tau));
}

// x̂_0 of both answers, ε̂ of the one without the label.
Estimate plus_plus(const Answers& a, double w) {
  const Estimate good = a.estimate(a.good), away = a.estimate(a.away);
  return {w * good.x0 + (1 - w) * away.x0, away.eps};
}

// An estimate of x_0, and the ε̂ that goes with it.
Estimate of_x0(const Answers& a, const Tensor& x0) { return {x0, eps_of_x0(a.level, a.xt, x0)}; }

// Of the velocity ε − x_0 of flow matching, whatever the network predicts.
Estimate of_velocity(const Answers& a, const Tensor& u) {
  return read(Prediction::flow, a.level, a.xt, u);
}
Var velocity(const Estimate& e) { return Var(1.0 * e.eps - 1.0 * e.x0); }

// The constants of the papers, as the rows' comments say.
constexpr double kRescale = 0.7;
constexpr double kMomentum = -0.5, kLargestUpdate = 0.05;

// D = D_c + (w − 1) Δ⊥, of Δ = D_c − D_u.
Estimate projected(const Answers& a, double w) {
  const Tensor good = a.estimate(a.good).x0;
  Tensor change = 1.0 * good - 1.0 * a.estimate(a.away).x0;
  if (a.memory.defined()) change = 1.0 * change + kMomentum * a.memory;
  a.memory = change;
  const Var D(good), delta(change);
  // min(1, r / ‖Δ‖), by which the part across D is multiplied.
  const double r = kLargestUpdate * std::sqrt(numbers_in_a_picture(D));
  const Var longer =
      relu(sqrt(dot(delta, delta) + kTiny * kTiny) * (1 / r) + -1.0) + 1.0;  // max(1, ‖Δ‖ / r)
  const Var across = (delta - dot(delta, D) / (dot(D, D) + kTiny) * D) / longer;
  return of_x0(a, (D + across * (w - 1)).value());
}

// v = s v_u + w (v_c − s v_u),  s = ⟨v_c, v_u⟩ / ‖v_u‖²; 0 at the first evaluation.
Estimate zero_star(const Answers& a, double w) {
  if (!a.memory.defined()) {
    a.memory = Tensor::zeros({1}, a.xt.kind());
    return of_velocity(a, Tensor::zeros(a.xt.shape(), a.xt.kind()));
  }
  const Var c = velocity(a.estimate(a.good)), u = velocity(a.estimate(a.away));
  const Var su = dot(c, u) / (dot(u, u) + kTiny) * u;
  return of_velocity(a, (su + (c - su) * w).value());
}

// φ σ_c / σ_g g + (1 − φ) g: the guided answer g with a standard deviation nearer to that of the good one.
Estimate rescaled(const Answers& a, double w) {
  const Var good(a.good), g(guided(a.good, a.away, w));
  const Var ratio = sqrt(square_deviation(good) / (square_deviation(g) + kTiny));
  return a.estimate((ratio * g * kRescale + g * (1 - kRescale)).value());
}

// ε̂ = ε − w σ ∇ log p(y | x_t), and the x̂_0 that goes with it. Without signal x_t says nothing of y.
Estimate led_by_classifier(const Answers& a, double w) {
  Estimate e = a.estimate(a.good);
  if (w == 0 || a.level.signal_variance == 0) return e;
  return {e.x0 + w * a.level.noise_variance / a.level.signal() * a.score,
          e.eps + -w * a.level.noise() * a.score};
}

}  // namespace

// Ho & Salimans 2021, eq. 6, on the network's own answer: objective.h.
const Guidance Guidance::cfg = {
    .name = "cfg", .help = "classifier-free guidance", .guide = classifier_free};

// Kynkäänniemi 2024, "Applying guidance in a limited interval": at noise σ / a in (0.28, 2.9], their choice for ImageNet-512.
// Guidance at high noise costs variety, at low noise it costs time alone.
const Guidance Guidance::interval = {
    .name = "interval",
    .help = "classifier-free guidance where σ / a is in (0.28, 2.9]",
    .guide = classifier_free,
    .from = 0.28,
    .to = 2.9};

// Wang 2024, "Analysis of classifier-free guidance weight schedulers", linear: none at the noise, twice as much as usual at the
// picture. Another schedule of w is such a row: `Answers::level` says where the walk is.
const Guidance Guidance::rising = {
    .name = "rising",
    .help = "classifier-free guidance whose scale rises with time from 1 to 2 w - 1",
    .guide = rising_scale};

// Lin 2023, "Common diffusion noise schedules and sample steps are flawed", eq. 15 and 16, with φ = 0.7.
const Guidance Guidance::rescale = {
    .name = "rescale",
    .help = "classifier-free guidance with the answer's contrast put back",
    .guide = rescaled};

// CFG++ (Chung 2024), algorithm 2: the way on is walked with the noise of the answer without the label, w in [0, 1].
const Guidance Guidance::cfgpp = {.name = "cfgpp",
                                  .help = "CFG++, a scale from 0 to 1, for ddim",
                                  .guide = plus_plus,
                                  .default_scale = 0.6,
                                  .least = 0,
                                  .most = 1,
                                  .own_eps = true};

// Adaptive projected guidance (Sadat 2024), algorithm 1 with η = 0, momentum −0.5 and r = 0.05 √D for pictures of D numbers
// (the paper's r are 0.02 to 0.06 √D).
const Guidance Guidance::apg = {
    .name = "apg",
    .help = "adaptive projected guidance: across the estimate alone, for large scales",
    .guide = projected,
    .default_scale = 4};

// CFG-Zero* (Fan 2025), eq. 9 and section 4.2, of the flow's velocity.
const Guidance Guidance::cfg_zero = {
    .name = "cfg_zero",
    .help = "CFG-Zero*: the answer without the label scaled to fit, no velocity at first",
    .guide = zero_star};

// Dhariwal & Nichol 2021, algorithm 2 and eq. 14, for any sampler. (Algorithm 1 moves the mean of DDPM's step by Σ ∇ log p at
// that mean: the same but for terms of second order in the step.)
const Guidance Guidance::classifier = {
    .name = "classifier",
    .help = "the gradient of a classifier's log p(class); 0 is none",
    .guide = led_by_classifier,
    .default_scale = 1,
    .by_classifier = true};

void Guidance::expect_scale(double w) const {
  if (!(w >= least && w <= most))
    throw Error("sample",
                fmt::format("guidance {} takes a scale in {}..{}, got {}", name, least, most, w));
}

void Guidance::expect_classifier(bool given) const {
  if (by_classifier && !given)
    throw Error("sample", fmt::format("guidance {0} needs a classifier: --guide {0}", name));
  if (given && !by_classifier)
    throw Error("sample",
                fmt::format("a classifier guides by the method {}, got {}", classifier.name, name));
}

}  // namespace sfumato::diffusion
