// DPM-Solver++(2S) (Lu 2022), algorithm 1: steps in pairs. The first of a pair is DDIM's; the second goes anew from the
// pair's beginning, with x̂_0 extrapolated along the line through both. It is of second order, keeps nothing from before the
// pair, and each of its two evaluations counts as a step. The last step is DDIM's (the paper's 1S).
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

// DDIM's step with D for x̂_0.
Tensor exponential_step(const NoiseLevel& t, const NoiseLevel& s, const Tensor& x,
                        const Tensor& D) {
  return s.noise() / t.noise() * x - s.signal() * std::expm1(lambda(t) - lambda(s)) * D;
}

Tensor sample_dpmpp_2s(const Chain& chain, Tensor x) {
  Tensor x_begin, x0_begin;  // of the pair
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Tensor x0 = chain.estimate(i, x).x0;
    const bool second =
        i % 2 == 1 && i + 1 < chain.steps() && chain.levels[i - 1].signal_variance > 0;
    if (second) {
      const NoiseLevel begin = chain.levels[i - 1];
      const double r = (lambda(t) - lambda(begin)) / (lambda(s) - lambda(begin));
      const Tensor D = 1 / (2 * r) * x0 + (1 - 1 / (2 * r)) * x0_begin;
      x = exponential_step(begin, s, x_begin, D);
    } else {
      x_begin = x, x0_begin = x0;
      x = exponential_step(t, s, x, x0);
    }
    chain.done(i, x, x0);
  }
  return x;
}

constexpr Sampler::Setting kDpmpp2sSettings[] = {{"algorithm_type", R"("dpmsolver++")"},
                                                 {"solver_order", "2"},
                                                 {"solver_type", R"("midpoint")"},
                                                 {"lower_order_final", "true", /*needed=*/true},
                                                 {"final_sigmas_type", R"("zero")"},
                                                 {"use_beta_sigmas", "false"},
                                                 {"use_flow_sigmas", "false"},
                                                 {"flow_shift", "1.0"},
                                                 {"lambda_min_clipped", "null"},
                                                 {"use_dynamic_shifting", "false"},
                                                 {"time_shift_type", R"("exponential")"},
                                                 {"variance_type", "null"}};

}  // namespace

const Sampler Sampler::dpmpp_2s = {.name = "dpmpp_2s",
                                   .diffusers = "DPMSolverSinglestepScheduler",
                                   .settings = kDpmpp2sSettings,
                                   .grid = Sampler::Grid::without_last,
                                   .sigma_spacings = kSigmaFlags,
                                   .help = "DPM-Solver++ in pairs of steps, of second order",
                                   .default_steps = 20,
                                   .sample = sample_dpmpp_2s};

}  // namespace sfumato::diffusion
