// DPM-Solver++(2M) (Lu 2022, "DPM-Solver++: Fast solver for guided sampling of diffusion probabilistic models"),
// algorithm 2. Written with λ = log(a / σ), half the log-SNR, the probability flow from level t to level s is exactly
//     x_s = σ_s / σ_t x_t + σ_s ∫ e^λ x̂_0(λ) dλ    from λ_t to λ_s.
// With x̂_0 held constant the integral gives −a_s (e^{−h} − 1) x̂_0, where h = λ_s − λ_t: that is DDIM. Here x̂_0 is
// extrapolated half a step ahead along the line through its last two values, which makes the method one of second order:
//     D = (1 + 1/(2r)) x̂_0 − 1/(2r) x̂_0',    r = h' / h,    ' for the step before.
// The first step has no predecessor, and a step to the data has h = ∞: both take D = x̂_0.
#include <cmath>

#include "diffusion/forward.h"
#include "diffusion/sampler.h"
#include "diffusion/samplers/dpm_settings.h"
#include "diffusion/samplers/edm_settings.h"

namespace sfumato::diffusion {
namespace {

Tensor sample_dpmpp_2m(const Chain& chain, Tensor x) {
  Tensor x0_before;
  double h_before = 0;
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Tensor x0 = chain.estimate(i, x).x0;
    const double h = (s.log_snr() - t.log_snr()) / 2;
    const double r = h_before / h;
    const Tensor D = r > 0 ? (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before : x0;
    x = s.noise() / t.noise() * x - s.signal() * std::expm1(-h) * D;
    chain.done(i, x, x0);
    x0_before = x0;
    h_before = h;
  }
  return x;
}

constexpr Sampler::Setting kDpmpp2mSettings[] = {
    {"algorithm_type", R"("dpmsolver++")"}, {"solver_order", "2"}, DPM_SOLVER_SETTINGS};

constexpr Sampler::Setting kEdmDpmSettings[] = {{"algorithm_type", R"("dpmsolver++")"},
                                                {"solver_order", "2"},
                                                {"solver_type", R"("midpoint")"},
                                                {"lower_order_final", "true"},
                                                {"euler_at_final", "false"},
                                                EDM_SETTINGS};

}  // namespace

const Sampler Sampler::dpmpp_2m = {.name = "dpmpp_2m",
                                   .diffusers = "DPMSolverMultistepScheduler",
                                   .settings = kDpmpp2mSettings,
                                   .grid = Sampler::Grid::without_last,
                                   .sigma_spacings = kSigmaFlags,
                                   .help = "DPM-Solver++, of second order without new noise",
                                   .default_steps = 20,
                                   .sample = sample_dpmpp_2m};

const Sampler Sampler::edm_dpmpp_2m = {.name = "edm_dpmpp_2m",
                                       .diffusers = "EDMDPMSolverMultistepScheduler",
                                       .settings = kEdmDpmSettings,
                                       .sigma_spacings = kSigmaSchedules,
                                       .schedule = &BetaSchedule::edm,
                                       .predictions = kEdmPredictions,
                                       .help = "dpmpp_2m, as EDM's schedulers name it",
                                       .default_steps = 20,
                                       .sample = sample_dpmpp_2m};

}  // namespace sfumato::diffusion
