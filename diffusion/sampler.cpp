#include "diffusion/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <span>

#include "diffusion/expect.h"
#include "diffusion/forward.h"
#include "tensor/arrivals.h"
#include "tensor/for_each.h"
#include "tensor/rng.h"

namespace sfumato::diffusion {
namespace {

// A stream of noise is addressed by 28 bits of picture and 20 bits of step.
constexpr int kStepBits = 20;

template <class T>
struct Clamp {
  T* x;
  T limit;
  constexpr void operator()(std::int64_t i) const { x[i] = std::clamp(x[i], -limit, limit); }
};

void clamp(Tensor& x, double range) {
  dispatch_float("sample", x.dtype(), [&]<class T>() {
    for_each(x.device(), x.size(), Clamp<T>{x.data<T>(), static_cast<T>(range)});
  });
}

// Row n is for picture first + n, and depends on (seed, step, picture) alone.
Tensor step_noise(std::uint64_t seed, std::int64_t first, std::int64_t step, const Tensor& x) {
  const auto address = static_cast<std::uint64_t>(first << kStepBits | step);
  return normal_rows(seed, Purpose::sample_step, address, std::uint64_t{1} << kStepBits, x.shape(),
                     x.kind());
}

// The first element of each picture that is infinite or NaN; 0 if none is.
template <class T>
struct FirstBad {
  const T* x;
  std::int64_t width;  // of a picture
  double* bad;
  constexpr void operator()(std::int64_t n) const {
    double found = 0;
    for (std::int64_t i = n * width; i < (n + 1) * width && found == 0; ++i)
      if (!std::isfinite(x[i])) found = static_cast<double>(x[i]);
    bad[n] = found;
  }
};

// The first picture that has such an element, and the element.
struct FirstBadPicture {
  const double* bad;
  std::int64_t n;
  double *picture, *value;
  constexpr void operator()(std::int64_t) const {
    *picture = *value = 0;
    for (std::int64_t i = n - 1; i >= 0; --i)
      if (!(bad[i] == 0)) *picture = static_cast<double>(i), *value = bad[i];
  }
};

// Chain::estimate at one level, where the network is told `time`.
Estimate ask(const Chain& chain, double time, const NoiseLevel& level, const Tensor& x) {
  if (!x.defined()) throw Error("sample", "xt is undefined");
  if (x.shape().rank() < 1) throw Error("sample", "xt has no batch axis");
  const Tensor output = chain.denoiser(x, time);
  expect_alike("sample", {"xt", x}, {"output", output});
  const auto [signal, noise] = levels(level);
  const Prediction& kind = chain.config.prediction_type;
  Estimate e{kind.to_x0(signal, noise, x, output), kind.to_eps(signal, noise, x, output)};
  if (chain.config.clip_sample) {
    if (kind == Prediction::x0) e.x0 = e.x0.clone();  // it is the network's own tensor
    clamp(e.x0, chain.config.clip_sample_range);
    if (chain.config.use_clipped_model_output)
      e.eps = Prediction::x0.to_eps(signal, noise, x, e.x0);
  }
  return e;
}

}  // namespace

// Nobody waits for a GPU at each step: what it finds arrives some steps later, at the last one at the latest.
class FiniteCheck {
 public:
  FiniteCheck(Device device, std::int64_t first_picture, std::int64_t steps)
      : steps_(steps), arrivals_(device, 2, [this, first_picture](std::span<const double> row) {
          const Place at = places_.front();
          places_.pop_front();
          if (row[1] == 0) return;
          places_.clear();
          throw Error("sample",
                      fmt::format("picture {} is no longer finite after step {} of {} (t = {}): "
                                  "the network's output there is {}",
                                  first_picture + static_cast<std::int64_t>(row[0]), at.step + 1,
                                  steps_, at.t, row[1]));
        }) {}

  void look_at(const Tensor& x, std::int64_t step, double t) {
    const std::int64_t n = x.dim(0), width = n ? x.size() / n : 0;
    const Kind kind(DType::f64, x.device());
    Tensor bad({n}, kind), picture({}, kind), value({}, kind);
    const std::int64_t grain = std::max<std::int64_t>(1, kElementGrain / (width + 1));  // pictures
    dispatch_float("sample", x.dtype(), [&]<class T>() {
      for_each(x.device(), n, FirstBad<T>{x.data<T>(), width, bad.data<double>()}, grain);
    });
    for_each(x.device(), 1,
             FirstBadPicture{bad.data<double>(), n, picture.data<double>(), value.data<double>()});
    places_.push_back({step, t});
    arrivals_.send({picture, value});
    if (step + 1 == steps_) arrivals_.drain();
  }

 private:
  struct Place {
    std::int64_t step;
    double t;
  };
  std::int64_t steps_;
  std::deque<Place> places_;  // of what is on its way
  Arrivals arrivals_;
};

Estimate Chain::estimate(std::int64_t step, const Tensor& x) const {
  const auto i = static_cast<std::size_t>(step);
  return ask(*this, times.at(i), levels.at(i), x);
}

Estimate Chain::estimate(const NoiseLevel& level, const Tensor& x) const {
  return ask(*this, time_at(level), level, x);
}

void Chain::done(std::int64_t step, const Tensor& x, const Tensor& x0) const {
  const double t = times.at(static_cast<std::size_t>(step));
  if (step == 0 || !finite)
    finite = std::make_shared<FiniteCheck>(x.device(), first_picture, steps());
  finite->look_at(x, step, t);
  if (on_step) on_step({step, t, x, x0});
}

Chain make_chain(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser) {
  const SchedulerConfig& config = options.config;
  if (schedule.steps() != config.num_train_timesteps)
    throw Error("sample", fmt::format("the schedule has {} steps, but num_train_timesteps = {}",
                                      schedule.steps(), config.num_train_timesteps));
  if (const std::string problem = combination_problem(config); !problem.empty())
    throw Error("sample", problem);
  Chain chain{
      .config = config,
      .eta = options.eta,
      .denoiser = denoiser,
      .path = schedule.path,
      .time_at =
          [schedule](const NoiseLevel& l) { return schedule.network_time(schedule.time_at(l)); },
      .noise = [seed = options.seed, first = options.first_picture](
                   std::int64_t step, const Tensor& x) { return step_noise(seed, first, step, x); },
      .first_picture = options.first_picture,
      .on_step = options.on_step};
  for (const std::int64_t t : timesteps(config, options.steps)) {
    chain.times.push_back(schedule.network_time(static_cast<double>(t)));
    chain.levels.push_back(schedule.level(t));
  }
  const bool to_data = config.set_alpha_to_one || !config.sampler.may_end_at_first_level;
  chain.levels.push_back(to_data ? kNoNoise : schedule.level(0));
  return chain;
}

Tensor sample(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
              const Tensor& x_T) {
  const Chain chain = make_chain(schedule, options, denoiser);
  const double size = Path::variance_preserving.size(chain.levels.front());
  return options.config.sampler.sample(chain, size == 1 ? x_T : size * x_T + 0.0 * x_T);
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

}  // namespace sfumato::diffusion
