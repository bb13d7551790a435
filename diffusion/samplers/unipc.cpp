// UniPC (Zhao 2023), B₂(h), of second order in x̂_0: a predictor, and a corrector that uses the next step's evaluation once
// it is there, at no cost. With h the step in λ, B = e^{−h} − 1, m0 = x̂_0 at t, and D1 = (m1 − m0) / r, r = (λ_1 − λ_t) / h:
//     predictor:  x_s = σ_s / σ_t x_t − a_s B (m0 + ½ D1)                                             eq. 3, ρ_p = ½
//     corrector:  x_s = σ_s / σ_t x_t − a_s B (m0 + ρ_1 D1 + ρ_2 (m_s − m0)),                         eq. 9
//                 where ρ solves Σ ρ_k r_k^{n−1} = b_n, r_2 = 1: the order conditions.
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

// ρ of the corrector of second order.
struct Corrector {
  double rho1, rho2;
  Corrector(double h, double r) {
    const double B = std::expm1(-h), phi = B / -h - 1;
    const double b1 = phi / B, b2 = 2 * (phi / -h - 0.5) / B;
    rho1 = (b1 - b2) / (1 - r);
    rho2 = b1 - rho1;
  }
};

Tensor sample_unipc(const Chain& chain, Tensor x) {
  const std::int64_t K = chain.steps();
  Tensor x_before, m1, m2;  // x and x̂_0 one step before, x̂_0 two steps before
  int order = 0;            // of the step before
  for (std::int64_t i = 0; i < K; ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Tensor m0 = chain.estimate(i, x).x0;
    if (i > 0) {
      const NoiseLevel from = chain.levels[i - 1];
      const double h = lambda(t) - lambda(from), B = std::expm1(-h);
      Tensor D = 0.5 * m0 + 0.5 * m1;  // of first order: the mean
      if (order == 2) {
        const double r = (lambda(chain.levels[i - 2]) - lambda(from)) / h;
        const Corrector c(h, r);
        D = (1 - c.rho2 - c.rho1 / r) * m1 + c.rho2 * m0;
        D = D + c.rho1 / r * m2;
      }
      x = t.noise() / from.noise() * x_before - t.signal() * B * D;
    }
    x_before = x;
    const double h = lambda(s) - lambda(t);
    Tensor D = m0;
    order = i > 0 && i + 1 < K && chain.levels[i - 1].signal_variance > 0 ? 2 : 1;
    if (order == 2) {
      const double r = (lambda(chain.levels[i - 1]) - lambda(t)) / h;
      D = (1 - 0.5 / r) * m0 + 0.5 / r * m1;
    }
    x = s.noise() / t.noise() * x - s.signal() * std::expm1(-h) * D;
    chain.done(i, x, m0);
    m2 = m1, m1 = m0;
  }
  return x;
}

constexpr Sampler::Setting kUnipcSettings[] = {{"solver_order", "2"},
                                               {"predict_x0", "true"},
                                               {"solver_type", R"("bh2")"},
                                               {"lower_order_final", "true"},
                                               {"disable_corrector", "[]"},
                                               {"solver_p", "null"},
                                               {"use_beta_sigmas", "false"},
                                               {"use_flow_sigmas", "false"},
                                               {"flow_shift", "1.0"},
                                               {"final_sigmas_type", R"("zero")"},
                                               {"use_dynamic_shifting", "false"},
                                               {"time_shift_type", R"("exponential")"},
                                               {"shift_terminal", "null"},
                                               {"sigma_min", "null"},
                                               {"sigma_max", "null"}};

}  // namespace

const Sampler Sampler::unipc = {.name = "unipc",
                                .diffusers = "UniPCMultistepScheduler",
                                .settings = kUnipcSettings,
                                .grid = Sampler::Grid::without_last,
                                .sigma_spacings = kSigmaFlags,
                                .help = "UniPC, predictor and corrector of second order",
                                .default_steps = 20,
                                .sample = sample_unipc};

}  // namespace sfumato::diffusion
