#include <algorithm>
#include <cmath>

#include "autograd/ops.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/training/support.h"
#include "diffusion/training/training.h"

namespace sfumato::diffusion {
namespace {

using namespace training;

constexpr std::int64_t kStages =
    8;  // the last one compares times of which one is 255/256 of the other
// c of the pseudo-Huber distance: 0.00054 √dimensions (Song & Dhariwal 2023, "Improved techniques for training
// consistency models", section 3.4).
constexpr double kHuber = 0.00054;

// The levels of the data and of the timesteps, each of which is one more here: 0 is the data.
Levels levels_from_data(const Schedule& schedule, const Tensor& t) {
  const std::int64_t times = schedule.steps() + 1;
  return {per_image(t, times, [&](std::int64_t i) { return schedule.level(i - 1).signal(); }),
          per_image(t, times, [&](std::int64_t i) { return schedule.level(i - 1).noise(); })};
}

// i64 [N] -> f32 [N,1,1,1]
Var column(const Coefficient& c) {
  Tensor values({c.t().dim(0), 1, 1, 1});
  for (std::int64_t i = 0; i < values.size(); ++i)
    values.data<float>()[i] =
        static_cast<float>(c.table()[static_cast<std::size_t>(c.t().data<std::int64_t>()[i])]);
  return Var(values);
}

// f(x, t) = a x − σ v_θ(x, t), t counted from the data.
Var consistency_function(const Pipeline& model, const Schedule& schedule, const Tensor& x,
                         const Tensor& t, const Tensor& labels) {
  const auto [a, sigma] = levels_from_data(schedule, t);
  const Tensor timestep =
      map(t, [](std::int64_t value) { return std::max<std::int64_t>(value - 1, 0); });
  const Var v = (*model.network)(x, schedule.network_time(timestep), labels);
  return column(a) * Var(x) - column(sigma) * v;
}

}  // namespace

void train_consistency(Pipeline& model, const data::Batches& batches, std::uint64_t seed,
                       const nn::FitOptions& options) {
  expect_v("train_consistency", model);
  const Schedule schedule = make_schedule(model.scheduler);
  nn::fit(*model.params, options, [&](std::int64_t k) {
    const auto [x0, labels] = batches.at(k);
    const std::int64_t n = x0.dim(0), d = x0.size() / n;
    const Tensor eps = noise(seed, k, x0.shape());

    // t, and r = t (1 − 2^{−stage}).
    Tensor t = random_index(seed, k, n, schedule.steps()), r(t.shape(), DType::i64);
    const auto stage = static_cast<int>(1 + k * kStages / options.steps);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t time = ++t.data<std::int64_t>()[i];
      r.data<std::int64_t>()[i] =
          time -
          std::max<std::int64_t>(1, std::lround(std::ldexp(static_cast<double>(time), -stage)));
    }
    const Tensor xt = q_sample(levels_from_data(schedule, t), x0, eps);
    const Tensor xr = q_sample(levels_from_data(schedule, r), x0, eps);
    // (`labels = labels`: clang 14 captures no structured binding otherwise.)
    const Tensor nearer = [&, labels = labels] {
      NoGrad no_grad;
      return consistency_function(model, schedule, xr, r, labels).value();
    }();
    const Var difference = consistency_function(model, schedule, xt, t, labels) - Var(nearer);
    const double c = kHuber * std::sqrt(static_cast<double>(d));
    const Var squares = sum_to(reshape(square(difference), {n, d}), {n, 1});
    return mean(sqrt(squares + c * c) + -c);
  });
}

Tensor sample_consistency(const Pipeline& model, const std::vector<std::int64_t>& labels,
                          std::int64_t steps, std::uint64_t seed) {
  expect_v("sample_consistency", model);
  NoGrad no_grad;
  const Schedule schedule = make_schedule(model.scheduler);
  const auto n = static_cast<std::int64_t>(labels.size());
  const auto [height, width] = model.network->sample_size;
  const Tensor label =
      model.conditioning().has_table() ? Tensor::from<std::int64_t>({n}, labels) : Tensor();
  Tensor x =
      Rng(seed, Purpose::sample_start).normal({n, height, width, model.network->out_channels});
  Tensor x0;
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t at = schedule.steps() * (steps - i) / steps;
    const Tensor t = Tensor::full({n}, static_cast<double>(at), DType::i64);
    if (i > 0)
      x = q_sample(
          levels_from_data(schedule, t), x0,
          Rng(seed, Purpose::sample_step, static_cast<std::uint64_t>(i)).normal(x.shape()));
    x0 = consistency_function(model, schedule, x, t, label).value();
  }
  return data::to_bytes(x0);
}

}  // namespace sfumato::diffusion
