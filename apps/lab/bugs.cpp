// `sfumato lab bugs`: ten mistakes that people make, planted one at a time. The loss does not show all of them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "apps/lab/support.h"
#include "autograd/ops.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/objective.h"
#include "diffusion/sampler.h"
#include "nn/fit.h"
#include "nn/optim.h"
#include "nn/presets.h"
#include "tensor/rng.h"

namespace sfumato::apps {
namespace {

using diffusion::NoiseLevel;
using diffusion::operator*, diffusion::operator+;

constexpr std::int64_t kBugsSteps = 20;  // of the sampler
constexpr int kCurve = 16;               // points of a loss curve

// How a model is trained, and how it is drawn with. What it is by default is right.
struct Recipe {
  diffusion::SchedulerConfig scheduler = diffusion::default_scheduler();
  double label_dropout = 0.1, lr = 2e-3, lr_floor = 0.02;
  bool other_noise = false, labels_shuffled = false, unit_range = false;
  // Of the sampler:
  double guidance = 2;
  bool previous_timestep = false, ddpm = false, noise_at_end = false, average = true;
};

struct Mistake {
  const char *name, *why;  // null: it is right
  void (*change)(Recipe& recipe);
  bool trains;  // else it draws with the model of the row before
};

constexpr Mistake kMistakes[] = {
    {"(all right)", nullptr, [](Recipe&) {}, true},
    {"steps to t-1, not to the next time",
     "with 20 of 1000 timesteps the sampler must step to the ᾱ of the timestep that it asks the "
     "network about next; the "
     "ᾱ of t-1 is nearly that of t, so that nearly all noise stays in the picture",
     [](Recipe& r) { r.previous_timestep = true; }, false},
    {"noise added at the last step",
     "DDPM adds noise after each step but the last: the posterior of x_0 given x_0 has no "
     "variance; what is added there "
     "is seen",
     [](Recipe& r) { r.ddpm = r.noise_at_end = true; }, false},
    {"two noises: in x_t and in the target",
     "the target's noise is not in x_t, so the best answer is its mean, 0, and of v only the part "
     "that x_0 gives is "
     "learned: the loss stays high, near the variance of the noise's share",
     [](Recipe& r) { r.other_noise = true; }, true},
    {"guidance mask inverted",
     "with 9 of 10 labels hidden instead of one, the network hardly sees a label; guidance "
     "exaggerates a difference that "
     "it has not learned well",
     [](Recipe& r) { r.label_dropout = 0.9; }, true},
    {"labels shuffled",
     "the loss is that of a network without labels, and what is drawn is any digit, not the one "
     "that was asked for; guidance exaggerates a difference that means nothing",
     [](Recipe& r) { r.labels_shuffled = true; }, true},
    {"data in [0, 1]",
     "the pictures have a quarter of the variance and a mean that is not 0, so that they drown in "
     "noise sooner than the "
     "schedule means; the loss is of another target and cannot be compared",
     [](Recipe& r) { r.unit_range = true; }, true},
    {"T too small for the noise",
     "β as for 1000 steps, but 100 of them: ᾱ_T is 0.36, x_T still shows the picture, and sampling "
     "begins at noise that "
     "training never showed",
     [](Recipe& r) {
       r.scheduler =
           diffusion::default_scheduler(diffusion::Prediction::v, diffusion::BetaSchedule::linear);
       r.scheduler.num_train_timesteps = 100;
     },
     true},
    {"learning rate x 100",
     "each step overshoots: the loss falls late or not at all, and the network answers about the "
     "same whatever it is "
     "shown",
     [](Recipe& r) { r.lr = 0.2; }, true},
    {"(constant rate, average used)", nullptr, [](Recipe& r) { r.lr_floor = 1; }, true},
    {"constant rate, average not used",
     "without a falling rate the weights keep jumping about; their moving average is the better "
     "network of the same run",
     [](Recipe& r) { r.average = false; }, false},
    {"(predicting ε, x_0 clipped)", nullptr,
     [](Recipe& r) {
       r = {};
       r.scheduler = diffusion::default_scheduler(diffusion::Prediction::eps);
     },
     true},
    {"predicting ε, x_0 not clipped",
     "x̂_0 = (x_t − √(1−ᾱ) ε)/√ᾱ divides an error in ε by √ᾱ, which is 0.00005 at the first step: "
     "without clipping it "
     "leaves the range of pictures, and the steps after it are asked about inputs that training "
     "never showed",
     [](Recipe& r) {
       r.scheduler = diffusion::default_scheduler(diffusion::Prediction::eps);
       r.scheduler.clip_sample = false;
     },
     false},
};

// A network, told labels of which one means "none", and its weights without averaging.
struct Trained {
  diffusion::Pipeline model;
  Tensor last_weights;
  std::vector<double> losses;
};

// x in [−1, 1] -> [0, 1]
Tensor to_unit_range(const Tensor& x) {
  Tensor y = x.clone();
  for (float& v : y.values<float>()) v = (v + 1) / 2;
  return y;
}
Tensor from_unit_range(const Tensor& x) {
  Tensor y = x.clone();
  for (float& v : y.values<float>()) v = 2 * v - 1;
  return y;
}

// Each picture has the label of another one.
Tensor shuffled(const Tensor& labels, std::uint64_t seed) {
  const data::Shuffle order(seed, labels.size());
  Tensor other(labels.shape(), DType::i64);
  for (std::int64_t i = 0; i < labels.size(); ++i)
    other.data<std::int64_t>()[i] = labels.data<std::int64_t>()[order(0, i)];
  return other;
}

Trained train(const LabSetting& setting, const Recipe& r, std::int64_t steps) {
  const std::uint64_t seed = setting.options.seed;
  const std::int64_t classes = setting.train.classes;
  nn::UNetConfig config = nn::preset("small", setting.train.images.dim(3), classes + 1);
  config.conditioning.null_label = classes;
  Trained trained{diffusion::make_pipeline(config, r.scheduler, seed), {}, {}};
  const Tensor labels =
      r.labels_shuffled ? shuffled(setting.train.labels, seed) : setting.train.labels;
  const data::Batches batches(setting.train.images, labels, kLabBatch, seed, classes,
                              r.label_dropout);
  const diffusion::Schedule schedule = diffusion::make_schedule(r.scheduler);
  nn::FitOptions fit{.steps = steps, .lr = r.lr, .lr_floor = r.lr_floor, .ema = 0.99};
  fit.on_step = [&](std::int64_t k, double loss) {
    trained.losses.push_back(loss);
    if (k + 1 == steps) trained.last_weights = trained.model.params->flat_values().clone();
  };
  nn::fit(*trained.model.params, fit, [&](std::int64_t k) {
    auto [x0, label] = batches.at(k);
    if (r.unit_range) x0 = to_unit_range(x0);
    const auto step = static_cast<std::uint64_t>(k);
    const Tensor t = Rng(seed, Purpose::timestep, step).randint({x0.dim(0)}, schedule.steps());
    Rng noise(seed, Purpose::noise, step);
    const Tensor eps = noise.normal(x0.shape()), other = noise.normal(x0.shape());
    const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);
    const Tensor target = diffusion::target(r.scheduler.prediction_type, schedule, x0,
                                            r.other_noise ? other : eps, t);
    return mse((*trained.model.network)(xt, t, label), target);
  });
  return trained;
}

// DDIM, or DDPM, with guidance, as diffusion/samplers has them.
Tensor draw(const Trained& trained, const Recipe& r, const std::vector<std::int64_t>& labels,
            const Shape& shape, std::uint64_t seed) {
  NoGrad no_grad;
  nn::Params& params = *trained.model.params;
  const nn::SwapValues swapped(params,
                               r.average ? params.flat_values().clone() : trained.last_weights);
  const diffusion::Schedule schedule = diffusion::make_schedule(r.scheduler);
  const auto n = static_cast<std::int64_t>(labels.size());
  const Tensor label = Tensor::from<std::int64_t>({n}, labels);
  const Tensor none = Tensor::full({n}, static_cast<double>(shape[0]), DType::i64);
  const auto network = [&](const Tensor& x, double t) {
    const Tensor time = Tensor::full({n}, t);
    const nn::Network& net = *trained.model.network;
    return diffusion::guided(net(x, time, label).value(), net(x, time, none).value(), r.guidance);
  };
  const diffusion::Chain chain = diffusion::make_chain(
      schedule, {.config = r.scheduler, .steps = kBugsSteps, .seed = seed}, network);
  Tensor x = Rng(seed, Purpose::sample_start).normal({n, shape[1], shape[2], shape[3]});
  for (std::int64_t i = 0; i < kBugsSteps; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const NoiseLevel from = chain.levels[k];
    const NoiseLevel to = r.previous_timestep
                              ? schedule.level(static_cast<std::int64_t>(chain.times[k]) - 1)
                              : chain.levels[k + 1];
    const auto [x0, eps] = chain.estimate(i, x);
    if (r.ddpm) {
      const auto [of_x0, of_xt, variance, beta] = diffusion::posterior_weights(to, from);
      x = of_x0 * x0 + of_xt * x;
      if (i + 1 < kBugsSteps || r.noise_at_end) x = x + std::sqrt(beta) * chain.noise(i, x);
    } else {
      x = to.signal() * x0 + to.noise() * eps;
    }
    // As a sampler would go on: an explosion is part of what is shown, a NaN cannot be.
    for (float& v : x.values<float>()) v = std::isfinite(v) ? std::clamp(v, -1e6f, 1e6f) : 0;
  }
  return data::to_bytes(r.unit_range ? from_unit_range(x) : x);
}

// The mean of each of kCurve parts.
std::vector<double> in_parts(const std::vector<double>& losses) {
  std::vector<double> parts;
  const std::size_t n = losses.size();
  for (std::size_t i = 0; i < kCurve; ++i) {
    const std::size_t begin = i * n / kCurve, end = std::max(begin + 1, (i + 1) * n / kCurve);
    double sum = 0;
    for (std::size_t j = begin; j < std::min(end, n); ++j) sum += losses[j];
    parts.push_back(begin < n ? sum / static_cast<double>(std::min(end, n) - begin)
                              : losses.back());
  }
  return parts;
}

// Bars on a logarithmic scale from 0.05 to 2.
std::string curve(const std::vector<double>& parts) {
  constexpr const char* kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string text;
  for (const double loss : parts) {
    const double height = 7 * std::log(std::max(loss, 1e-9) / 0.05) / std::log(2 / 0.05);
    text += kBars[static_cast<std::size_t>(std::clamp(std::lround(height), 0L, 7L))];
  }
  return text;
}

}  // namespace

LabResult lab_bugs(const LabSetting& setting) {
  const LabOptions& o = setting.options;
  LabResult result;
  result.columns = {"what was done", "first loss",    "last loss",      "agreement %", "+-",
                    kDistanceColumn, kIntervalColumn, "loss, 0.05 to 2"};
  Stopwatch watch;
  const LabJudge judge(setting, labels_in_turn(setting, o.count(500, 200, 20)));
  result.seconds.emplace_back("judge", watch.lap());
  const Shape shape = setting.train.images.shape().with(0, setting.train.classes);
  std::unique_ptr<Trained> trained;
  std::vector<Tensor> shown;
  Recipe recipe;
  for (const Mistake& mistake : kMistakes) {
    if (mistake.trains) recipe = {};
    mistake.change(recipe);
    if (mistake.trains) {
      trained = std::make_unique<Trained>(train(setting, recipe, o.count(700, 200)));
      result.seconds.emplace_back(mistake.name, watch.lap());
    }
    const Tensor pictures = draw(*trained, recipe, judge.labels(), shape, o.seed);
    if (!mistake.trains) recipe.previous_timestep = recipe.ddpm = recipe.noise_at_end = false;
    const LabJudge::Verdict v = judge(pictures);
    const std::vector<double> losses = in_parts(trained->losses);
    result.rows.push_back({mistake.name, Number{losses.front(), 3}, Number{losses.back(), 3},
                           Number{v.agreement, 1}, Number{v.error, 1}, distance_cell(v),
                           interval_cell(v), curve(losses)});
    shown.push_back(pictures);
    result.picture_rows.emplace_back(mistake.name);
    if (mistake.why)
      result.findings.push_back(
          fmt::format("{}: {}. Loss {:.3f}, agreement {:.1f} %, distance {:.2f} floors.",
                      mistake.name, mistake.why, losses.back(), v.agreement, v.of_floor.value));
  }
  result.picture = picture_of_rows(shown, 10);
  return result;
}

}  // namespace sfumato::apps
