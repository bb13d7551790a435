// Heun's method for the probability flow: the mean of the velocities at both ends of the step, of second order. EDM
// (Karras 2022), algorithm 1. The step to the data has no velocity at its end, and is Euler's.
#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {

Tensor walk_by_heun(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Estimate e = chain.estimate(i, x);
    x = heun_step(flow, t, s, x, e,
                  [&](const Tensor& there) { return chain.estimate(i + 1, there); });
    chain.done(i, x, e.x0);
  }
  return x;
}

namespace {

constexpr Sampler::Setting kHeunSettings[] = {{"use_beta_sigmas", "false"}};

}  // namespace

const Sampler Sampler::heun = {.name = "heun",
                               .diffusers = "HeunDiscreteScheduler",
                               .settings = kHeunSettings,
                               .grid = Sampler::Grid::fractional,
                               .sigma_spacings = kSigmaFlags,
                               .help = "Heun's method, of second order; 2 evaluations a step",
                               .default_steps = 20,
                               .sample = walk_by_heun};

const Sampler& Sampler::flow_reference = Sampler::heun;

const Sampler Sampler::flow_heun = {.name = "flow_heun",
                                    .diffusers = "FlowMatchHeunDiscreteScheduler",
                                    .grid = Sampler::Grid::fractional,
                                    .schedule = &BetaSchedule::flow,
                                    .predictions = kFlowPredictions,
                                    .help = "heun, as flow matching's schedulers name it",
                                    .default_steps = 20,
                                    .sample = walk_by_heun};

}  // namespace sfumato::diffusion
