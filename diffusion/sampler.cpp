#include "diffusion/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion/expect.h"
#include "diffusion/forward.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

namespace sfumato::diffusion {
namespace {

// A stream of noise is addressed by 28 bits of picture and 20 bits of step.
constexpr int kStepBits = 20;

void expect_times(const char* op, const Schedule& schedule, std::int64_t t, std::int64_t t_prev) {
  if (t < 0 || t >= schedule.steps())
    throw Error(op, fmt::format("t = {} is outside 0..{}", t, schedule.steps() - 1));
  if (t_prev >= t) throw Error(op, fmt::format("t_prev = {} is not below t = {}", t_prev, t));
}

// What an output of the network says about x_0 (clipped if so configured) and ε.
struct Estimate {
  Tensor x0, eps;
};

void clamp(const char* op, Tensor& x, double range) {
  dispatch_float(op, x.dtype(), [&]<class T>() {
    T* values = x.data<T>();
    const T limit = static_cast<T>(range);
    parallel_ranges(x.size(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) values[i] = std::clamp(values[i], -limit, limit);
    });
  });
}

Estimate estimate(const char* op, const Schedule& schedule, const SchedulerConfig& config,
                  const Tensor& output, std::int64_t t, const Tensor& xt) {
  if (!xt.defined()) throw Error(op, "xt is undefined");
  if (xt.shape().rank() < 1) throw Error(op, "xt has no batch axis");
  const Tensor times = Tensor::full({xt.dim(0)}, static_cast<double>(t), DType::i64);
  expect_batch(op, schedule, times, {"xt", xt}, {"output", output});
  const Prediction kind = config.prediction_type;
  Estimate e{to_x0(kind, schedule, output, xt, times), to_eps(kind, schedule, output, xt, times)};
  if (config.clip_sample) {
    if (kind == Prediction::x0) e.x0 = e.x0.clone();  // it is the network's own tensor
    clamp(op, e.x0, config.clip_sample_range);
    if (config.use_clipped_model_output) e.eps = to_eps(Prediction::x0, schedule, e.x0, xt, times);
  }
  return e;
}

// Row n is for picture first + n, and depends on (seed, step, picture) alone.
Tensor step_noise(const SampleOptions& options, std::int64_t step, const Tensor& x) {
  Tensor z(x.shape(), x.dtype());
  for (std::int64_t n = 0; n < x.dim(0); ++n) {
    const std::int64_t picture = options.first_picture + n;
    z.slice(n, n + 1).copy_from(Rng(options.seed, Purpose::sample_step,
                                    static_cast<std::uint64_t>(picture << kStepBits | step))
                                    .normal(x.shape().with(0, 1), x.dtype()));
  }
  return z;
}

void expect_finite(const Tensor& x, const SampleOptions& options, std::int64_t step,
                   std::int64_t t) {
  dispatch_float("sample", x.dtype(), [&]<class T>() {
    const auto values = x.values<T>();
    const auto bad =
        std::find_if_not(values.begin(), values.end(), [](T v) { return std::isfinite(v); });
    if (bad == values.end()) return;
    const std::int64_t picture =
        options.first_picture + (bad - values.begin()) / (x.size() / x.dim(0));
    throw Error("sample",
                fmt::format("picture {} is no longer finite after step {} of {} (t = {}): "
                            "the network's output there is {}",
                            picture, step + 1, options.steps, t, *bad));
  });
}

Tensor add_noise(const char* op, const Tensor& mean, double sigma, const Tensor& noise) {
  if (sigma == 0) return mean;
  expect_alike(op, {"xt", mean}, {"noise", noise});
  return mean + sigma * noise;
}

double ddim_alpha_bar_prev(const Schedule& schedule, const SchedulerConfig& config,
                           std::int64_t t_prev) {
  if (t_prev >= 0) return schedule.alpha_bar_at(t_prev);
  return config.set_alpha_to_one ? 1.0 : schedule.alpha_bar_at(0);
}

}  // namespace

double ddpm_sigma(const Schedule& schedule, const SchedulerConfig& config, std::int64_t t,
                  std::int64_t t_prev) {
  expect_times("ddpm_sigma", schedule, t, t_prev);
  if (t == 0) return 0;
  const PosteriorWeights w = posterior_weights(
      schedule.alpha_bar_at(std::max<std::int64_t>(t_prev, -1)), schedule.alpha_bar_at(t));
  return std::sqrt(config.variance_type == Variance::fixed_small ? w.variance : w.beta);
}

Step ddpm_step(const Schedule& schedule, const SchedulerConfig& config, const Tensor& output,
               std::int64_t t, std::int64_t t_prev, const Tensor& xt, const Tensor& noise) {
  const char* op = "ddpm_step";
  expect_times(op, schedule, t, t_prev);
  const Tensor x0 = estimate(op, schedule, config, output, t, xt).x0;
  const PosteriorWeights w = posterior_weights(
      schedule.alpha_bar_at(std::max<std::int64_t>(t_prev, -1)), schedule.alpha_bar_at(t));
  const Tensor mean = w.x0 * x0 + w.xt * xt;
  return {add_noise(op, mean, ddpm_sigma(schedule, config, t, t_prev), noise), x0};
}

double ddim_sigma(const Schedule& schedule, const SchedulerConfig& config, double eta,
                  std::int64_t t, std::int64_t t_prev) {
  expect_times("ddim_sigma", schedule, t, t_prev);
  if (!(eta >= 0 && eta <= 1))
    throw Error("ddim_sigma", fmt::format("eta = {} is outside [0, 1]", eta));
  const double alpha_bar_prev = ddim_alpha_bar_prev(schedule, config, t_prev);
  return eta * std::sqrt(posterior_weights(alpha_bar_prev, schedule.alpha_bar_at(t)).variance);
}

Step ddim_step(const Schedule& schedule, const SchedulerConfig& config, double eta,
               const Tensor& output, std::int64_t t, std::int64_t t_prev, const Tensor& xt,
               const Tensor& noise) {
  const char* op = "ddim_step";
  expect_times(op, schedule, t, t_prev);
  const auto [x0, eps] = estimate(op, schedule, config, output, t, xt);
  const double alpha_bar_prev = ddim_alpha_bar_prev(schedule, config, t_prev);
  const double sigma = ddim_sigma(schedule, config, eta, t, t_prev);
  // Never negative but for rounding: it is (1−ᾱ_{t−1})² ᾱ_t / (ᾱ_{t−1} (1−ᾱ_t)) at eta = 1.
  const double direction = std::sqrt(std::max(0.0, 1 - alpha_bar_prev - sigma * sigma));
  const Tensor mean = std::sqrt(alpha_bar_prev) * x0 + direction * eps;
  return {add_noise(op, mean, sigma, noise), x0};
}

std::vector<std::int64_t> timesteps(const SchedulerConfig& config, std::int64_t steps) {
  validate(config);
  const std::int64_t T = config.num_train_timesteps;
  if (steps < 1 || steps > T)
    throw Error("timesteps", fmt::format("expected 1 to {} steps, got {}", T, steps));
  // Halves round to even, as in NumPy; products and sums are in NumPy's order, since a half that is
  // not quite one would round elsewhere.
  const auto round = [](double x) { return static_cast<std::int64_t>(std::nearbyint(x)); };
  const auto last = static_cast<double>(T - 1);
  std::vector<std::int64_t> result;
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t from_end = steps - 1 - i;
    switch (config.timestep_spacing) {
      case Spacing::leading:  // the offset gives way where it would lead beyond T−1
        result.push_back(from_end * T / steps +
                         std::min(config.steps_offset, T - 1 - (steps - 1) * T / steps));
        break;
      case Spacing::trailing: {  // numpy.arange(T, 0, -T/K), which may add a step too many: not
                                 // here
        const auto begin = static_cast<double>(T);
        const double delta = (begin - begin / static_cast<double>(steps)) - begin;
        result.push_back(round(begin + static_cast<double>(i) * delta) - 1);
        break;
      }
      case Spacing::linspace:  // numpy.linspace(0, T−1, K), reversed
        result.push_back(steps == 1 ? 0
                         : i == 0   ? T - 1
                                    : round(static_cast<double>(from_end) *
                                            (last / static_cast<double>(steps - 1))));
        break;
    }
  }
  return result;
}

std::int64_t previous_timestep(const std::vector<std::int64_t>& timesteps, std::size_t i) {
  if (i >= timesteps.size())
    throw Error("previous_timestep",
                fmt::format("step {} is outside 0..{}", i, timesteps.size() - 1));
  return i + 1 < timesteps.size() ? timesteps[i + 1] : -1;
}

Tensor sample(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
              const Tensor& x_T) {
  const SchedulerConfig& config = options.config;
  if (schedule.steps() != config.num_train_timesteps)
    throw Error("sample", fmt::format("the schedule has {} steps, but num_train_timesteps = {}",
                                      schedule.steps(), config.num_train_timesteps));
  const std::vector<std::int64_t> times = timesteps(config, options.steps);
  Tensor x = x_T;
  for (std::size_t i = 0; i < times.size(); ++i) {
    const auto step_index = static_cast<std::int64_t>(i);
    const std::int64_t t = times[i];
    const std::int64_t t_prev = previous_timestep(times, i);
    const bool ddim = config.method == Method::ddim;
    const double sigma = ddim ? ddim_sigma(schedule, config, options.eta, t, t_prev)
                              : ddpm_sigma(schedule, config, t, t_prev);
    Tensor z;
    if (sigma > 0) z = step_noise(options, step_index, x);
    const Tensor output = denoiser(x, t);
    const Step step = ddim ? ddim_step(schedule, config, options.eta, output, t, t_prev, x, z)
                           : ddpm_step(schedule, config, output, t, t_prev, x, z);
    x = step.x_prev;
    expect_finite(x, options, step_index, t);
    if (options.on_step) options.on_step({step_index, t, t_prev, x, step.x0});
  }
  return x;
}

}  // namespace sfumato::diffusion
