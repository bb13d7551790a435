#include "diffusion/bound.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/reverse_variance.h"
#include "tensor/error.h"
#include "tensor/rng.h"

namespace sfumato::diffusion {
namespace {

constexpr std::int64_t kSingle = 16;  // the first timesteps, of which none is skipped

// Φ(b) − Φ(a) for a < b, without a difference of numbers near 1.
double normal_between(double a, double b) {
  if (a > 0) return normal_between(-b, -a);
  constexpr double kRoot = std::numbers::sqrt2 / 2;
  return 0.5 * (std::erfc(-b * kRoot) - std::erfc(-a * kRoot));
}

// −log of the last step's probability, or density, of x.
double last_step_nats(LastStep kind, double x, double mean, double sigma) {
  const double z = (x - mean) / sigma;
  if (kind == LastStep::density)
    return 0.5 * z * z + std::log(sigma) + 0.5 * std::log(2 * std::numbers::pi);
  constexpr double kHalfBin = 1.0 / 255, kFar = 1e9, kSmallest = 1e-300;
  const double half = kHalfBin / sigma;
  const double a = x < -1 + kHalfBin ? -kFar : z - half, b = x > 1 - kHalfBin ? kFar : z + half;
  return -std::log(std::max(normal_between(a, b), kSmallest));
}

// What a network says of pictures with the noise of one timestep.
struct Bounded {
  const Schedule& schedule;
  const Prediction& prediction;
  const Denoiser& denoiser;
  Tensor x0;  // f64
  DType dtype;
  std::uint64_t seed;

  // x̂_0, and r = log Σ − log β̃ of a step back, f64; undefined where the variance is not learned.
  struct Said {
    Tensor x0, r;
  };
  Said ask(std::int64_t step) const {
    const Tensor t = Tensor::full({x0.dim(0)}, static_cast<double>(step), DType::i64);
    const Tensor eps =
        Rng(seed, Purpose::noise, static_cast<std::uint64_t>(step)).normal(x0.shape(), dtype);
    const Tensor xt = q_sample(schedule, x0.to(dtype), t, eps);
    const Var output(denoiser(xt, schedule.network_time(static_cast<double>(step))));
    const std::int64_t channels = xt.dim(-1);
    Said said{
        to_x0(prediction, schedule, answer_in(output, channels).value(), xt, t).to(DType::f64), {}};
    if (const Var variance = variance_in(output, channels); variance.defined())
      said.r =
          ((cast(variance, DType::f64) * 0.5 + 0.5) * log_variance_range(schedule, step)).value();
    return said;
  }
  // Of one number of x_0, on average. Without a learned variance r is 0, and ½ (SNR(t−1) − SNR(t)) (x_0 − x̂_0)² is left.
  double between(std::int64_t t) const {
    const Said said = ask(t);
    const double w = bound_weight(schedule.level(t - 1), schedule.level(t));
    double sum = 0;
    for (std::int64_t i = 0; i < x0.size(); ++i) {
      const double error = 2 * w * std::pow(x0.data<double>()[i] - said.x0.data<double>()[i], 2);
      sum += posterior_kl(said.r.defined() ? said.r.data<double>()[i] : 0, error);
    }
    return sum / static_cast<double>(x0.size());
  }
};

}  // namespace

double bound_weight(const NoiseLevel& s, const NoiseLevel& t) { return 0.5 * (s.snr() - t.snr()); }

double VariationalBound::bits(std::int64_t first, std::int64_t end) const {
  double sum = 0;
  for (const Term& term : between)
    if (term.first >= first && term.first < end) sum += term.bits;
  return sum;
}

double VariationalBound::total() const {
  double sum = prior + last_step;
  for (const Term& term : between) sum += term.bits;
  return sum;
}

VariationalBound variational_bound(const Schedule& schedule, const Prediction& prediction,
                                   const Denoiser& denoiser, const Tensor& x0,
                                   const BoundOptions& o) {
  if (schedule.path != &Path::variance_preserving || o.stride < 1)
    throw Error("variational_bound",
                "expected a schedule of the variance-preserving process and a stride of 1 or more");
  const Bounded bounded{schedule, prediction, denoiser, x0.to(DType::f64), x0.dtype(), o.seed};
  const auto size = static_cast<double>(x0.size());
  constexpr double kBits = 1 / std::numbers::ln2;
  const double* x = bounded.x0.data<double>();
  VariationalBound bound;

  // KL(N(a x_0, σ²) ‖ N(0, 1)) = ½ (a² x_0² + σ² − 1 − log σ²)
  const NoiseLevel last = schedule.level(schedule.steps() - 1);
  for (std::int64_t i = 0; i < x0.size(); ++i)
    bound.prior += kBits / size * 0.5 *
                   (last.signal_variance * x[i] * x[i] + last.noise_variance - 1 -
                    std::log(last.noise_variance));

  for (std::int64_t t = 1; t < schedule.steps();) {
    const std::int64_t count = t <= kSingle ? 1 : std::min(o.stride, schedule.steps() - t);
    const double nats = bounded.between(t + count / 2);
    bound.between.push_back({t, count, kBits * static_cast<double>(count) * nats});
    t += count;
  }

  const Bounded::Said said = bounded.ask(0);
  for (std::int64_t i = 0; i < x0.size(); ++i) {
    // β_0; or what is learned, with β̃_1 for β̃_0 = 0
    const double variance =
        said.r.defined() ? first_posterior_variance(schedule) * std::exp(said.r.data<double>()[i])
                         : schedule.beta[0];
    bound.last_step +=
        kBits / size *
        last_step_nats(o.last_step, x[i], said.x0.data<double>()[i], std::sqrt(variance));
  }
  return bound;
}

}  // namespace sfumato::diffusion
