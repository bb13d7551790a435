// Euler's method for the probability flow: x + (σ_s − σ_t) dx/dσ. EDM (Karras 2022), algorithm 1 without its correction. In all
// coordinates of path.h it is the same step, DDIM's with eta = 0; so it is flow matching's sampler too.
#include "diffusion/samplers/edm_settings.h"
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

Tensor sample_euler(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Estimate e = chain.estimate(i, x);
    x = flow.step(t, s, x, flow.velocity(t, e));
    chain.done(i, x, e.x0);
  }
  return x;
}

constexpr Sampler::Setting kEulerSettings[] = {{"interpolation_type", R"("linear")"},
                                               {"use_beta_sigmas", "false"},
                                               {"sigma_min", "null"},
                                               {"sigma_max", "null"},
                                               {"timestep_type", R"("discrete")"},
                                               {"final_sigmas_type", R"("zero")"}};

constexpr Sampler::Setting kFlowSettings[] = {{"use_dynamic_shifting", "false"},
                                              {"base_shift", "0.5"},
                                              {"max_shift", "1.15"},
                                              {"base_image_seq_len", "256"},
                                              {"max_image_seq_len", "4096"},
                                              {"invert_sigmas", "false"},
                                              {"shift_terminal", "null"},
                                              {"use_karras_sigmas", "false"},
                                              {"use_exponential_sigmas", "false"},
                                              {"use_beta_sigmas", "false"},
                                              {"time_shift_type", R"("exponential")"},
                                              {"stochastic_sampling", "false"}};

constexpr Sampler::Setting kEdmEulerSettings[] = {EDM_SETTINGS};

}  // namespace

const Sampler Sampler::euler = {.name = "euler",
                                .diffusers = "EulerDiscreteScheduler",
                                .settings = kEulerSettings,
                                .grid = Sampler::Grid::fractional,
                                .sigma_spacings = kSigmaFlags,
                                .help = "Euler's method for the probability flow",
                                .default_steps = 20,
                                .sample = sample_euler};

const Sampler Sampler::flow_euler = {.name = "flow_euler",
                                     .diffusers = "FlowMatchEulerDiscreteScheduler",
                                     .settings = kFlowSettings,
                                     .grid = Sampler::Grid::fractional,
                                     .schedule = &BetaSchedule::flow,
                                     .predictions = kFlowPredictions,
                                     .help = "euler, as flow matching's schedulers name it",
                                     .default_steps = 20,
                                     .sample = sample_euler};

const Sampler Sampler::edm_euler = {.name = "edm_euler",
                                    .diffusers = "EDMEulerScheduler",
                                    .settings = kEdmEulerSettings,
                                    .sigma_spacings = kSigmaSchedules,
                                    .schedule = &BetaSchedule::edm,
                                    .predictions = kEdmPredictions,
                                    .help = "euler, as EDM's schedulers name it",
                                    .default_steps = 20,
                                    .sample = sample_euler};

}  // namespace sfumato::diffusion
