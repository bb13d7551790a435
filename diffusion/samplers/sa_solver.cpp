// SA-Solver (Xue 2023), algorithm 1: stochastic Adams, predictor and corrector of second order in x̂_0. The SDE has τ times the
// noise of DDPM's; τ = 1 for the fifth to the last but one fifth of time, and 0 outside, as the paper chooses (section E.1).
// With k = 1 + τ², h = λ_s − λ_t,
//     x_s = σ_s / σ_t e^{−τ² h} x_t + k a_s Σ b_j m_j + σ_s √(1 − e^{−2 τ² h}) z,
//     b_j = ∫ e^{−k (λ_s − λ)} l_j(λ) dλ from λ_t to λ_s, with l_j Lagrange's polynomials of the λ_j.
// The corrector makes the step again with the same z, once x̂_0 at its end is there. As in the authors' program, and `diffusers`, the
// slope of a line is integrated without the exponential, which changes nothing in the order and helps with few steps.
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

struct AdamsStep {
  const NoiseLevel &t, &s;
  double tau;
  double h = lambda(s) - lambda(t), k = 1 + tau * tau;

  double constant() const { return -std::expm1(-k * h) / k; }  // ∫ e^{−k (λ_s − λ)} dλ
  // x_s from x_t, where the x̂_0 of the step is b0 m0 + b1 m1, integrated.
  Tensor operator()(const Tensor& x, const Tensor& D, const Tensor& z) const {
    const double decay = tau > 0 ? tau * tau * h : 0;  // h is infinite where x_t has no signal
    const double keep = s.noise() / t.noise() * std::exp(-decay);
    const Tensor next = keep * x + k * s.signal() * D;
    const double noise = s.noise() * std::sqrt(-std::expm1(-2 * decay));
    return noise > 0 ? next + noise * z : next;
  }
};

Tensor sample_sa_solver(const Chain& chain, Tensor x) {
  const std::int64_t K = chain.steps();
  const auto T = static_cast<double>(chain.config.num_train_timesteps);
  Tensor x_before, z, m1;
  double tau = 0;
  for (std::int64_t i = 0; i < K; ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Tensor m0 = chain.estimate(i, x).x0;
    if (i > 0 && chain.levels[i - 1].signal_variance > 0) {  // Adams-Moulton
      const AdamsStep step{chain.levels[i - 1], t, tau};
      const double slope = step.h / 2;
      x = step(x_before, (step.constant() - slope) * m1 + slope * m0, z);
    }
    x_before = x;
    z = chain.noise(i, x);
    tau = chain.times[i] >= 0.2 * T && chain.times[i] <= 0.8 * T ? 1 : 0;
    const AdamsStep step{t, s, tau};  // Adams-Bashforth
    Tensor D = step.constant() * m0;
    if (i > 0 && i + 1 < K && chain.levels[i - 1].signal_variance > 0) {
      const double back = lambda(t) - lambda(chain.levels[i - 1]);
      const double slope = (step.h * step.h / 2) / back;
      D = (step.constant() + slope) * m0 - slope * m1;
    }
    x = step(x, D, z);
    chain.done(i, x, m0);
    m1 = m0;
  }
  return x;
}

constexpr Sampler::Setting kSaSolverSettings[] = {
    {"predictor_order", "2"},       {"corrector_order", "2"},
    {"tau_func", "null"},           {"algorithm_type", R"("data_prediction")"},
    {"lower_order_final", "true"},  {"use_beta_sigmas", "false"},
    {"use_flow_sigmas", "false"},   {"flow_shift", "1.0"},
    {"lambda_min_clipped", "null"}, {"variance_type", "null"}};

}  // namespace

const Sampler Sampler::sa_solver = {.name = "sa_solver",
                                    .diffusers = "SASolverScheduler",
                                    .ends_at_first_level = true,
                                    .settings = kSaSolverSettings,
                                    .grid = Sampler::Grid::without_last,
                                    .sigma_spacings = kSigmaFlags,
                                    .help = "SA-Solver, stochastic Adams of second order",
                                    .default_steps = 20,
                                    .sample = sample_sa_solver};

}  // namespace sfumato::diffusion
