// Linear multistep (Adams-Bashforth for uneven steps), of fourth order: the velocity is the polynomial through its last four
// values, integrated over the step. k-diffusion (Crowson 2022), sample_lms.
#include <deque>

#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

constexpr std::size_t kOrder = 4;

// ∫ of the Lagrange polynomial that is 1 at nodes[k] and 0 at the other nodes; Gauss's three points are exact to degree 5.
double integral(const std::deque<double>& nodes, std::size_t k, double from, double to) {
  const double half = (to - from) / 2, middle = (from + to) / 2, g = std::sqrt(0.6);
  const auto value = [&](double time) {
    double product = 1;
    for (std::size_t j = 0; j < nodes.size(); ++j)
      if (j != k) product *= (time - nodes[j]) / (nodes[k] - nodes[j]);
    return product;
  };
  return half * (5 * value(middle - g * half) + 8 * value(middle) + 5 * value(middle + g * half)) /
         9;
}

Tensor sample_lms(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  std::deque<double> times;  // newest first
  std::deque<Tensor> velocities;
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const Estimate e = chain.estimate(i, x);
    times.push_front(flow.time(t));
    velocities.push_front(flow.velocity(t, e));
    if (times.size() > kOrder) times.pop_back(), velocities.pop_back();
    x = flow.add(t, s, x, integral(times, 0, flow.time(t), flow.time(s)), velocities[0]);
    for (std::size_t k = 1; k < times.size(); ++k)
      x = flow.add(s, s, x, integral(times, k, flow.time(t), flow.time(s)), velocities[k]);
    chain.done(i, x, e.x0);
  }
  return x;
}

constexpr Sampler::Setting kLmsSettings[] = {{"use_beta_sigmas", "false"}};

}  // namespace

const Sampler Sampler::lms = {.name = "lms",
                              .diffusers = "LMSDiscreteScheduler",
                              .settings = kLmsSettings,
                              .grid = Sampler::Grid::fractional,
                              .sigma_spacings = kSigmaFlags,
                              .help = "linear multistep, of fourth order",
                              .default_steps = 20,
                              .sample = sample_lms};

}  // namespace sfumato::diffusion
