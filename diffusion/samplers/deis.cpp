// DEIS (Zhang & Chen 2022), log-ρ multistep of second order: in ρ = σ / a the flow is dy/dρ = ε̂ for y = x / a, and ε̂ is the
// line through its last two values in log ρ, integrated exactly over the step.
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

// ∫ (log ρ − log c) / (log b − log c) dρ from `from` to `to`.
double integral(double b, double c, double from, double to) {
  const auto value = [&](double rho) {
    return rho > 0 ? rho * (std::log(rho / c) - 1) / std::log(b / c) : 0;
  };
  return value(to) - value(from);
}

Tensor sample_deis(const Chain& chain, Tensor x) {
  Tensor before;
  const std::int64_t K = chain.steps();
  for (std::int64_t i = 0; i < K; ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const auto [x0, eps] = chain.estimate(i, x);
    const bool first_order =
        i == 0 || (i + 1 == K && K < 15) || std::isinf(chain.levels[i - 1].sigma());
    if (first_order) {
      x = s.signal() * x0 + s.noise() * eps;
    } else {
      const double rho = t.sigma(), rho_before = chain.levels[i - 1].sigma(), to = s.sigma();
      const double now = integral(rho, rho_before, rho, to);
      const double then = integral(rho_before, rho, rho, to);
      x = s.signal() / t.signal() * x + s.signal() * now * eps;
      x = x + s.signal() * then * before;
    }
    chain.done(i, x, x0);
    before = eps;
  }
  return x;
}

constexpr Sampler::Setting kDeisSettings[] = {{"solver_order", "2"},
                                              {"algorithm_type", R"("deis")"},
                                              {"solver_type", R"("logrho")"},
                                              {"lower_order_final", "true"},
                                              {"use_beta_sigmas", "false"},
                                              {"use_flow_sigmas", "false"},
                                              {"flow_shift", "1.0"},
                                              {"use_dynamic_shifting", "false"},
                                              {"time_shift_type", R"("exponential")"}};

}  // namespace

const Sampler Sampler::deis = {.name = "deis",
                               .diffusers = "DEISMultistepScheduler",
                               .ends_at_first_level = true,
                               .settings = kDeisSettings,
                               .grid = Sampler::Grid::without_last,
                               .sigma_spacings = kSigmaFlags,
                               .help = "DEIS, log-ρ multistep of second order",
                               .default_steps = 20,
                               .sample = sample_deis};

}  // namespace sfumato::diffusion
