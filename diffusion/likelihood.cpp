#include "diffusion/likelihood.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "diffusion/expect.h"
#include "diffusion/forward.h"
#include "tensor/rng.h"

namespace sfumato::diffusion {
namespace {

constexpr double kLargestSigma = 1000;

// ⟨a, b⟩ of each picture, added up in double.
std::vector<double> inner(const Tensor& a, const Tensor& b) {
  const Tensor p = a.to(Device::cpu).to(DType::f64), q = b.to(Device::cpu).to(DType::f64);
  const std::int64_t n = p.dim(0), d = p.size() / std::max<std::int64_t>(n, 1);
  std::vector<double> sums(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < p.size(); ++i)
    sums[static_cast<std::size_t>(i / d)] += p.data<double>()[i] * q.data<double>()[i];
  return sums;
}

// v: −1 or 1, with equal probability.
Tensor random_signs(std::uint64_t seed, const Shape& shape, Kind kind) {
  const Tensor u = Rng(seed, Purpose::noise).uniform(shape, DType::f64);
  Tensor v(shape, DType::f64);
  for (std::int64_t i = 0; i < v.size(); ++i)
    v.data<double>()[i] = u.data<double>()[i] < 0.5 ? -1 : 1;
  return v.to(kind.dtype).to(kind.device);
}

// The flow in EDM's coordinates.
struct Probability {
  const Schedule& schedule;
  const Prediction& prediction;
  const DifferentiableDenoiser& denoiser;
  Tensor signs;
  bool exact;

  struct Velocity {
    Tensor eps;                      // dx̃/dσ̃
    std::vector<double> divergence;  // ∇·ε̂ of each picture
  };

  // vᵀ (∂output/∂x) v of each picture.
  std::vector<double> quadratic(const Tensor& x, double time, const Tensor& v,
                                Tensor& output) const {
    const Var leaf(x, /*requires_grad=*/true);
    const Var answer = denoiser(leaf, time);
    expect_alike("log_likelihood", {"x", x}, {"output", answer.value()});
    output = answer.value();
    if (!answer.requires_grad()) return std::vector<double>(static_cast<std::size_t>(x.dim(0)));
    answer.backward(v);
    return inner(leaf.grad(), v);
  }

  Velocity at(double sigma, const Tensor& x_tilde) const {
    const NoiseLevel level = schedule.path->at_sigma(sigma);
    const double time = schedule.network_time(schedule.time_at(level));
    const Tensor x = level.signal() * x_tilde;
    const std::int64_t n = x.dim(0), d = x.size() / n;
    Tensor output;
    std::vector<double> trace(static_cast<std::size_t>(n));
    if (!exact) trace = quadratic(x, time, signs, output);
    for (std::int64_t j = 0; exact && j < d; ++j) {
      Tensor unit = Tensor::zeros(x.shape(), DType::f64);
      for (std::int64_t i = 0; i < n; ++i) unit.data<double>()[i * d + j] = 1;
      const auto row = quadratic(x, time, unit.to(x.dtype()).to(x.device()), output);
      for (std::size_t i = 0; i < row.size(); ++i) trace[i] += row[i];
    }
    // ε̂ = c_x x + c_o output, x = a x̃.
    const double c_o = prediction.eps_per_output(level.signal(), level.noise());
    const auto [signal, noise] = levels(level);
    const Tensor one = Tensor::full({1}, 1, DType::f64), none = Tensor::zeros({1}, DType::f64);
    const double c_x = prediction.to_eps(signal, noise, one, none).item();
    for (double& divergence : trace)
      divergence = level.signal() * (c_x * static_cast<double>(d) + c_o * divergence);
    return {prediction.to_eps(signal, noise, x, output), trace};
  }
};

// log N(x; 0, variance I) of each picture.
std::vector<double> log_normal(const Tensor& x, double variance) {
  std::vector<double> result = inner(x, x);
  const double d = static_cast<double>(x.size()) / static_cast<double>(x.dim(0));
  for (double& r : result)
    r = -r / (2 * variance) - d / 2 * std::log(2 * std::numbers::pi * variance);
  return result;
}

}  // namespace

std::vector<double> log_likelihood(const Schedule& schedule, const Prediction& prediction,
                                   const DifferentiableDenoiser& denoiser, const Tensor& x0,
                                   const LikelihoodOptions& o) {
  if (o.steps < 1)
    throw Error("log_likelihood", fmt::format("expected steps >= 1, got {}", o.steps));
  if (!x0.defined() || x0.shape().rank() < 1 || x0.size() == 0)
    throw Error("log_likelihood", "expected at least one picture");
  const Probability flow{schedule, prediction, denoiser,
                         random_signs(o.seed, x0.shape(), x0.kind()), o.exact_trace};
  const double low = std::log(schedule.level(0).sigma());
  const double high =
      std::log(std::min(schedule.level(schedule.steps() - 1).sigma(), kLargestSigma));
  const double step = (high - low) / static_cast<double>(o.steps);
  std::vector<double> integral(static_cast<std::size_t>(x0.dim(0)));
  Tensor x = x0;
  // In u = log σ̃, dx̃/du = σ̃ ε̂, by the classical method of Runge and Kutta: each stage's time and weight, and how far along its
  // velocity the next stage stands.
  struct Stage {
    double time, weight, next;
  };
  constexpr Stage kStages[] = {
      {0, 1. / 6, 0.5}, {0.5, 1. / 3, 0.5}, {0.5, 1. / 3, 1}, {1, 1. / 6, 0}};
  for (std::int64_t i = 0; i < o.steps; ++i) {
    Tensor end = x, at = x;
    for (const Stage& stage : kStages) {
      const double sigma = std::exp(low + step * (static_cast<double>(i) + stage.time));
      const Probability::Velocity k = flow.at(sigma, at);
      const double share = step * sigma * stage.weight;
      end = end + share * k.eps;
      for (std::size_t n = 0; n < integral.size(); ++n) integral[n] += share * k.divergence[n];
      at = x + stage.next * step * sigma * k.eps;
    }
    x = end;
  }
  // The noise that sampling begins with: of the size of data of variance 1 there.
  std::vector<double> result = log_normal(x, 1 + std::exp(2 * high));
  for (std::size_t n = 0; n < result.size(); ++n) result[n] += integral[n];
  return result;
}

Tensor dequantised(const Tensor& x0, std::uint64_t seed) {
  const Tensor u = Rng(seed, Purpose::general).uniform(x0.shape(), x0.dtype()).to(x0.device());
  const Tensor half = Tensor::full(x0.shape(), 0.5, x0.kind());
  return x0 + 2.0 / 255 * (1.0 * u - 1.0 * half);
}

double bits_per_number(double log_p, std::int64_t numbers) {
  return (-log_p / static_cast<double>(numbers) - std::log(2.0 / 255)) / std::numbers::ln2;
}

}  // namespace sfumato::diffusion
