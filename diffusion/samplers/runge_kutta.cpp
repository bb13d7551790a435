// The explicit midpoint method and the classical method of Runge (1895) and Kutta (1901) for the probability flow, of second and
// fourth order. The data have no velocity: the last step of both is the midpoint method's, which asks for none there; and Euler's
// where its middle would have less noise than the network has seen.
#include <utility>

#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

Tensor midpoint_step(const Chain& chain, const Flow& flow, std::int64_t i, const Tensor& x,
                     const Tensor& d) {
  const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
  const NoiseLevel middle = flow.at_time((flow.time(t) + flow.time(s)) / 2);
  if (flow.time(middle) < flow.time(chain.lowest)) return flow.step(t, s, x, d);
  const Tensor x_middle = flow.step(t, middle, x, d);
  return flow.step(t, s, x, flow.velocity(middle, chain.estimate(middle, x_middle)));
}

Tensor rk4_step(const Chain& chain, const Flow& flow, std::int64_t i, const Tensor& x,
                const Tensor& k1) {
  const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
  if (s.noise_variance == 0) return midpoint_step(chain, flow, i, x, k1);
  const NoiseLevel middle = flow.at_time((flow.time(t) + flow.time(s)) / 2);
  const auto velocity_at_middle = [&](const Tensor& k) {
    return flow.velocity(middle, chain.estimate(middle, flow.step(t, middle, x, k)));
  };
  const Tensor k2 = velocity_at_middle(k1), k3 = velocity_at_middle(k2);
  const Tensor k4 = flow.velocity(s, chain.estimate(i + 1, flow.step(t, s, x, k3)));
  const Tensor ends = 1.0 / 6 * k1 + 1.0 / 6 * k4, middles = 1.0 / 3 * k2 + 1.0 / 3 * k3;
  return flow.step(t, s, x, 1.0 * ends + 1.0 * middles);
}

template <class Step>
Tensor one_step_method(const Chain& chain, Tensor x, Step step) {
  const Flow flow(chain);
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const Estimate e = chain.estimate(i, x);
    x = step(chain, flow, i, x, flow.velocity(chain.levels[i], e));
    chain.done(i, x, e.x0);
  }
  return x;
}

}  // namespace

const Sampler Sampler::midpoint = {
    .name = "midpoint",
    .diffusers = "midpoint",
    .grid = Sampler::Grid::fractional,
    .help = "the midpoint method, of second order; 2 evaluations a step",
    .default_steps = 20,
    .sample = [](const Chain& chain, Tensor x) {
      return one_step_method(chain, std::move(x), midpoint_step);
    }};

const Sampler Sampler::rk4 = {
    .name = "rk4",
    .diffusers = "rk4",
    .grid = Sampler::Grid::fractional,
    .help = "the classical Runge-Kutta method, of fourth order; 4 evaluations a step",
    .default_steps = 10,
    .sample = [](const Chain& chain, Tensor x) {
      return one_step_method(chain, std::move(x), rk4_step);
    }};

}  // namespace sfumato::diffusion
