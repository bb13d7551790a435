// Dormand and Prince 5(4) (1980) with steps of adaptive length, for the probability flow: a step of fifth order whose distance
// from one of fourth order is the error; 1e-4 of x (and 1e-4) is allowed. It walks from each level of the chain to the next,
// except the last step, which goes to the schedule's first level and from there, as Euler's, to the data. Each picture chooses
// its steps (Sampler::one_picture), so that it does not depend on the others.
#include <array>

#include "diffusion/samplers/solver.h"

namespace sfumato::diffusion {
namespace {

constexpr double kTolerance = 1e-4;
constexpr int kStages = 7;
constexpr double kC[kStages] = {0, 1. / 5, 3. / 10, 4. / 5, 8. / 9, 1, 1};
constexpr double kA[kStages][6] = {
    {},
    {1. / 5},
    {3. / 40, 9. / 40},
    {44. / 45, -56. / 15, 32. / 9},
    {19372. / 6561, -25360. / 2187, 64448. / 6561, -212. / 729},
    {9017. / 3168, -355. / 33, 46732. / 5247, 49. / 176, -5103. / 18656},
    {35. / 384, 0, 500. / 1113, 125. / 192, -2187. / 6784, 11. / 84}};
// Fifth order less fourth.
constexpr double kE[kStages] = {71. / 57600,      0,         -71. / 16695, 71. / 1920,
                                -17253. / 339200, 22. / 525, -1. / 40};

using Stages = std::array<Tensor, kStages>;

// Σ c_j k_j of the first n.
Tensor combine(const Stages& k, const double* c, int n) {
  Tensor sum = c[0] * k[0];
  for (int j = 1; j < n; ++j)
    if (c[j] != 0) sum = sum + c[j] * k[static_cast<std::size_t>(j)];
  return sum;
}

// The root mean square of error / (1 + |x|), over the tolerance.
double error_norm(const Tensor& error, const Tensor& x) {
  const Tensor e = error.to(Device::cpu).to(DType::f64), y = x.to(Device::cpu).to(DType::f64);
  double sum = 0;
  for (std::int64_t i = 0; i < e.size(); ++i) {
    const double relative = e.data<double>()[i] / (1 + std::abs(y.data<double>()[i]));
    sum += relative * relative;
  }
  return std::sqrt(sum / static_cast<double>(e.size())) / kTolerance;
}

// From level t to level s; `h` is the length of the next step, kept from one call to the next.
Tensor adaptive_walk(const Chain& chain, const Flow& flow, const NoiseLevel& t, const NoiseLevel& s,
                     Tensor x, double& h) {
  NoiseLevel at = t;
  const double end = flow.time(s);
  while (flow.time(at) != end) {
    const double left = end - flow.time(at);
    const double step = std::abs(h) < std::abs(left) ? std::copysign(h, left) : left;
    const NoiseLevel to = step == left ? s : flow.at_time(flow.time(at) + step);
    Stages k;
    Tensor x_to;
    for (int stage = 0; stage < kStages; ++stage) {
      const NoiseLevel level = kC[stage] == 1 ? to : flow.at_time(flow.time(at) + kC[stage] * step);
      x_to = stage == 0 ? x : flow.add(at, level, x, step, combine(k, kA[stage], stage));
      k[static_cast<std::size_t>(stage)] = flow.velocity(level, chain.estimate(level, x_to));
    }
    const Tensor error = combine(k, kE, kStages);
    const double norm = error_norm(std::abs(step) * error, x_to);
    if (!std::isfinite(norm) && std::abs(step) < 1e-9)
      throw Error("sample", "dopri5: the velocity is not finite");
    if (norm <= 1) x = x_to, at = to;
    const double factor = norm > 0 ? 0.9 * std::pow(norm, -0.2) : 5;
    h = std::abs(step) * (std::isfinite(factor) ? std::clamp(factor, 0.2, 5.0) : 0.2);
  }
  return x;
}

Tensor sample_dopri5(const Chain& chain, Tensor x) {
  const Flow flow(chain);
  double h = std::abs(flow.time(chain.levels[0]) - flow.time(chain.levels[1])) / 4;
  for (std::int64_t i = 0; i < chain.steps(); ++i) {
    NoiseLevel t = chain.levels[i];
    const NoiseLevel s = chain.levels[i + 1];
    const bool last = s.noise_variance == 0;
    if (last && chain.lowest.sigma() < t.sigma()) {
      x = adaptive_walk(chain, flow, t, chain.lowest, x, h);
      t = chain.lowest;
    }
    const Estimate e = chain.estimate(t, x);
    x = last ? flow.step(t, s, x, flow.velocity(t, e)) : adaptive_walk(chain, flow, t, s, x, h);
    chain.done(i, x, e.x0);
  }
  return x;
}

}  // namespace

const Sampler Sampler::dopri5 = {
    .name = "dopri5",
    .diffusers = "dopri5",
    .grid = Sampler::Grid::fractional,
    .one_picture = true,
    .help = "Dormand-Prince 5(4), with as many evaluations as it needs",
    .default_steps = 5,
    .sample = sample_dopri5};

}  // namespace sfumato::diffusion
