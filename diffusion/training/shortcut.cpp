#include <fmt/format.h>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/training/support.h"
#include "diffusion/training/training.h"

namespace sfumato::diffusion {
namespace {

using namespace training;

// Sizes 1, 1/2, .. 1/kGrid, and one for steps of no length, which is what half of the smallest is taken for.
constexpr std::int64_t kGrid = std::int64_t{1} << (kShortcutSizes - 2);
constexpr std::int64_t kNoLength = kShortcutSizes - 1;
constexpr std::int64_t kTimes = 2 * kGrid;  // u is a multiple of 1 / kTimes

void expect_shortcut(const char* op, const Pipeline& model) {
  if (!(model.scheduler.prediction_type == Prediction::flow) ||
      !(model.scheduler.beta_schedule == BetaSchedule::flow) || !model.conditioning().has_table() ||
      model.conditioning().rows % kShortcutSizes != 0)
    throw Error(op, fmt::format("expected a network of flow matching with {} rows for each label",
                                kShortcutSizes));
}

// The velocity s(x, u, size), u = time / kTimes.
Var velocity(const Pipeline& model, const Schedule& schedule, const Tensor& x, const Tensor& time,
             const Tensor& labels, const Tensor& size) {
  Tensor told({time.size()}), row = labels.clone();
  for (std::int64_t i = 0; i < time.size(); ++i) {
    const double u = static_cast<double>(time.values<std::int64_t>()[i]) / kTimes;
    told.values<float>()[i] = static_cast<float>(static_cast<double>(schedule.steps()) * u);
    row.values<std::int64_t>()[i] =
        labels.values<std::int64_t>()[i] * kShortcutSizes + size.values<std::int64_t>()[i];
  }
  return (*model.network)(x, told, row);
}

// x of time u, one step of that length along s: x_{u−d} = x_u − d s.
Tensor step(const Tensor& x, const Tensor& length, const Tensor& s) {
  const Coefficient d = per_image(length, kTimes + 1,
                                  [](std::int64_t i) { return -static_cast<double>(i) / kTimes; });
  return x + d * s;
}

// ‖s(x_u, u, 2d) − ½ (s(x_u, u, d) + s(x_{u−d}, u−d, d))‖²: one step of 2d leads where two of d do.
Var self_consistency(const Pipeline& model, const Schedule& schedule, std::int64_t k,
                     std::uint64_t seed, const Sample& sample) {
  const std::int64_t n = sample.x0.dim(0);
  Rng random(seed, Purpose::shuffle, static_cast<std::uint64_t>(k));
  const Tensor size = random.randint({n}, kNoLength);  // of the long step: 1, 1/2, .. 1/kGrid
  const Tensor length = map(size, [](std::int64_t i) { return kTimes >> i; });
  Tensor time = length.clone();  // u, a multiple of 2d
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t drawn = sample.t.values<std::int64_t>()[i];
    const std::int64_t steps = kTimes / length.values<std::int64_t>()[i];
    time.values<std::int64_t>()[i] *= 1 + drawn * steps / schedule.steps();
  }
  const Levels levels{
      per_image(time, kTimes + 1,
                [](std::int64_t i) { return 1 - static_cast<double>(i) / kTimes; }),
      per_image(time, kTimes + 1, [](std::int64_t i) { return static_cast<double>(i) / kTimes; })};
  const Tensor x = q_sample(levels, sample.x0, sample.eps);
  const Tensor two_steps = [&] {
    NoGrad no_grad;
    const Tensor half = map(length, [](std::int64_t i) { return i / 2; });
    const Tensor shorter = map(size, [](std::int64_t i) { return i + 1; });
    Tensor later = time.clone();
    for (std::int64_t i = 0; i < n; ++i)
      later.values<std::int64_t>()[i] -= half.values<std::int64_t>()[i];
    const Tensor s1 = velocity(model, schedule, x, time, sample.labels, shorter).value();
    const Tensor s2 =
        velocity(model, schedule, step(x, half, s1), later, sample.labels, shorter).value();
    return Tensor(0.5 * s1 + 0.5 * s2);
  }();
  return mse(velocity(model, schedule, x, time, sample.labels, size), two_steps);
}

}  // namespace

void train_shortcut(Pipeline& model, const data::Batches& batches, std::uint64_t seed,
                    const nn::FitOptions& options) {
  expect_shortcut("train_shortcut", model);
  const Schedule schedule = make_schedule(model.scheduler);
  nn::fit(*model.params, options, [&](std::int64_t k) {
    const auto [x0, labels] = batches.at(k);
    const std::int64_t n = x0.dim(0), m = n / 4;
    const Tensor eps = noise(seed, k, x0.shape()), t = random_index(seed, k, n, schedule.steps());
    const auto part = [&, x0 = x0, labels = labels](std::int64_t begin, std::int64_t end) {
      return Sample{x0.slice(begin, end), eps.slice(begin, end), t.slice(begin, end),
                    labels.slice(begin, end)};
    };
    Sample flow = part(m, n);
    flow.labels =
        map(flow.labels, [](std::int64_t label) { return label * kShortcutSizes + kNoLength; });
    Var flow_matching = denoising_loss(model, schedule, flow);
    if (m == 0) return flow_matching;
    return flow_matching * 0.75 + self_consistency(model, schedule, k, seed, part(0, m)) * 0.25;
  });
}

Tensor sample_shortcut(const Pipeline& model, const std::vector<std::int64_t>& labels,
                       std::int64_t steps, std::uint64_t seed) {
  expect_shortcut("sample_shortcut", model);
  if (steps < 1 || steps > kGrid || (steps & (steps - 1)) != 0)
    throw Error("sample_shortcut", fmt::format("expected a power of two from 1 to {} as the number "
                                               "of steps, got {}",
                                               kGrid, steps));
  NoGrad no_grad;
  const Schedule schedule = make_schedule(model.scheduler);
  const auto n = static_cast<std::int64_t>(labels.size());
  const auto [height, width] = model.network->sample_size;
  const Tensor label = Tensor::from<std::int64_t>({n}, labels);
  const auto same = [&](std::int64_t value) {
    return Tensor::full({n}, static_cast<double>(value), DType::i64);
  };
  const std::int64_t length = kTimes / steps;
  std::int64_t size = 0;
  while (kTimes >> size > length) ++size;
  Tensor x =
      Rng(seed, Purpose::sample_start).normal({n, height, width, model.network->out_channels});
  for (std::int64_t time = kTimes; time > 0; time -= length)
    x = step(x, same(length), velocity(model, schedule, x, same(time), label, same(size)).value());
  return data::to_bytes(x);
}

}  // namespace sfumato::diffusion
