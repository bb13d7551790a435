#include "diffusion/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <span>
#include <utility>

#include "diffusion/clip.h"
#include "diffusion/expect.h"
#include "diffusion/forward.h"
#include "diffusion/reverse_variance.h"
#include "diffusion/self_condition.h"
#include "diffusion/spacing.h"
#include "tensor/arrivals.h"
#include "tensor/for_each.h"
#include "tensor/rng.h"

namespace sfumato::diffusion {
namespace {

// A stream of noise is addressed by 28 bits of picture and 20 bits of step.
constexpr int kStepBits = 20;

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

// A network's output for x: the answer, and 2v − 1 of a learned variance.
struct Said {
  Tensor answer, variance;
};
Said take_apart(const Tensor& output, const Tensor& x) {
  const std::int64_t channels = x.dim(-1);
  if (!output.defined() || output.shape().rank() < 1 || output.dim(-1) != 2 * channels) {
    expect_alike("sample", {"xt", x}, {"output", output});
    return {output, {}};
  }
  const Var both(output);
  Said said{answer_in(both, channels).value(), variance_in(both, channels).value()};
  expect_alike("sample", {"xt", x}, {"output", said.answer});
  return said;
}

// What the network sees: x; or x and its last estimate.
Tensor seen(const Chain& chain, const Tensor& x) {
  if (!chain.self_condition) return x;
  return beside(x, chain.last_x0.defined() ? chain.last_x0 : Tensor::zeros(x.shape(), x.kind()));
}

// Chain::estimate at one level, where the network is told `time`.
Estimate ask(const Chain& chain, double time, const NoiseLevel& level, const Tensor& x,
             Tensor* variance = nullptr) {
  if (!x.defined()) throw Error("sample", "xt is undefined");
  if (x.shape().rank() < 1) throw Error("sample", "xt has no batch axis");
  const Tensor input = seen(chain, x);
  const Said said = take_apart(chain.denoiser(input, time), x);
  const Tensor& output = said.answer;
  const Prediction& kind = chain.config.prediction_type;
  const Guidance& method = chain.guide.method;
  const bool guided = (chain.guide.away || chain.guide.score) && method.acts_at(level);
  Estimate own;  // of the network without guidance, where somebody asks for it
  if (!guided || chain.guide.score || chain.self_condition) own = read(kind, level, x, output);
  Estimate e = own;
  if (guided) {
    Answers answers{kind, level, x, output, {}, chain.guide_memory};
    if (chain.guide.away) answers.away = take_apart(chain.guide.away(input, time), x).answer;
    if (chain.guide.score) answers.score = chain.guide.score(level, x, own);
    e = method.guide(answers, chain.guide.scale);
  }
  if (chain.self_condition) chain.last_x0 = told_estimate(own.x0, chain.config);
  if (clips(chain.config)) {
    if (kind == Prediction::x0) e.x0 = e.x0.clone();  // it may be the network's own tensor
    clip(e.x0, chain.config);
    if (chain.config.use_clipped_model_output && !(chain.guide.away && method.own_eps))
      e.eps = eps_of_x0(level, x, e.x0);
  }
  if (variance) *variance = said.variance;
  if (chain.correct) chain.correct(level, x, e);
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

Estimate Chain::estimate(std::int64_t step, const Tensor& x, Tensor* variance) const {
  const auto i = static_cast<std::size_t>(step);
  const double time = i == times.size() ? time_at(levels.at(i)) : times.at(i);
  return ask(*this, time, levels.at(i), x, variance);
}

Estimate Chain::estimate(const NoiseLevel& level, const Tensor& x) const {
  return ask(*this, time_at(level), level, x);
}

void Chain::done(std::int64_t step, const Tensor& x, const Tensor& x0) const {
  const double t = times.at(static_cast<std::size_t>(step));
  if (step == 0 || !finite)
    finite = std::make_shared<FiniteCheck>(x.device(), first_picture, steps());
  finite->look_at(x, step, t);
  if (step + 1 == steps() && !first) guide_memory = {}, last_x0 = {};  // a part hands them on
  if (on_step) on_step({step, t, x, x0});
}

namespace {

void expect_leader(const Guide& guide) {
  if (guide.score && guide.away)
    throw Error("sample", fmt::format("a classifier guides by the method {} alone, got {}",
                                      Guidance::classifier.name, guide.method.name));
  guide.method.expect_classifier(guide.score != nullptr);
}

}  // namespace

Chain make_chain(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser) {
  const SchedulerConfig& config = options.config;
  if (schedule.steps() != config.num_train_timesteps)
    throw Error("sample", fmt::format("the schedule has {} steps, but num_train_timesteps = {}",
                                      schedule.steps(), config.num_train_timesteps));
  if (const std::string problem = combination_problem(config); !problem.empty())
    throw Error("sample", problem);
  expect_leader(options.guide);
  if (options.guide.away || options.guide.score)
    options.guide.method.expect_scale(options.guide.scale);
  if (options.eta != 0 && !config.sampler.takes_eta)
    throw Error("sample", fmt::format("eta = {}: expected 0 with the sampler {}, whose noise it "
                                      "does not change",
                                      options.eta, config.sampler.name));
  if (options.restart && config.sampler.restarts)
    throw Error("sample",
                fmt::format("the sampler {} restarts by itself: expected another with restarts",
                            config.sampler.name));
  if (options.guide.away && options.guide.method.own_eps && !config.sampler.takes_both)
    throw Error(
        "sample",
        fmt::format("guidance {} takes x_0 from one estimate and the noise from another: expected "
                    "the sampler ddim, got {}",
                    options.guide.method.name, config.sampler.name));
  Chain chain{
      .config = config,
      .eta = options.eta,
      .restart = options.restart,
      .denoiser = denoiser,
      .guide = options.guide,
      .path = schedule.path,
      .lowest = schedule.level(0),
      .time_at =
          [schedule](const NoiseLevel& l) { return schedule.network_time(schedule.time_at(l)); },
      .noise = [seed = options.seed, first = options.first_picture](
                   std::int64_t step, const Tensor& x) { return step_noise(seed, first, step, x); },
      .first_picture = options.first_picture,
      .on_step = options.on_step,
      .correct = options.correct,
      .self_condition = options.self_condition};
  StepStarts starts = step_starts(schedule, config, options.steps);
  chain.times = std::move(starts.times);
  chain.levels = std::move(starts.levels);
  const Sampler& sampler = config.sampler;
  const bool to_data =
      !sampler.ends_at_first_level && (config.set_alpha_to_one || !sampler.may_end_at_first_level);
  chain.levels.push_back(to_data ? kNoNoise : schedule.level(0));
  return chain;
}

namespace {

Tensor scaled(double c, const Tensor& x) { return c == 1 ? x : c * x; }

Tensor walk_by_picture(Chain chain, const Tensor& x) {
  const Sampler& sampler = chain.config.sampler;
  const auto walk_all = [&](const Tensor& from) {
    return chain.restart ? walk_with_restarts(chain, from, sampler.sample)
                         : sampler.sample(chain, from);
  };
  if (!sampler.one_picture || x.dim(0) == 1) return walk_all(x);
  Tensor pictures(x.shape(), x.kind());
  const std::int64_t first = chain.first_picture;
  for (std::int64_t n = 0; n < x.dim(0); ++n) {
    chain.first_picture = first + n;
    pictures.slice(n, n + 1).copy_from(walk_all(x.slice(n, n + 1)));
  }
  return pictures;
}

}  // namespace

Tensor start(const Chain& chain, const Tensor& x_T) {
  return scaled(Path::variance_preserving.size(chain.levels.front()), x_T);
}

Tensor walk(const Chain& chain, const Tensor& x) {
  return scaled(1 / Path::variance_preserving.size(chain.levels.back()), walk_by_picture(chain, x));
}

Tensor sample(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
              const Tensor& x_T) {
  const Chain chain = make_chain(schedule, options, denoiser);
  return walk(chain, start(chain, x_T));
}

namespace {

// A walk of one number by a network that always answers 0.
void walk_for_nothing(const Schedule& schedule, const SampleOptions& options,
                      const std::function<void()>& on_estimate,
                      const std::function<void()>& on_noise) {
  SampleOptions quiet = options;
  quiet.on_step = {};
  quiet.correct = {};
  quiet.self_condition = false;
  const Denoiser zero = [&](const Tensor& x, double) {
    on_estimate();
    return Tensor::zeros(x.shape(), x.kind());
  };
  Chain chain = make_chain(schedule, quiet, zero);
  chain.noise = [&, noise = chain.noise](std::int64_t step, const Tensor& x) {
    on_noise();
    return noise(step, x);
  };
  walk(chain, start(chain, Tensor::full({1, 1}, 1)));
}

}  // namespace

std::int64_t evaluations(const Schedule& schedule, const SampleOptions& options) {
  std::int64_t count = 0;
  walk_for_nothing(
      schedule, options, [&] { ++count; }, [] {});
  return count;
}

bool adds_noise(const Schedule& schedule, const SampleOptions& options) {
  bool any = false;
  walk_for_nothing(
      schedule, options, [] {}, [&] { any = true; });
  return any;
}

}  // namespace sfumato::diffusion
