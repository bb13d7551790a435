#include <fmt/format.h>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/loss.h"
#include "diffusion/objective.h"
#include "diffusion/training/support.h"
#include "diffusion/training/training.h"

namespace sfumato::diffusion {

namespace training {

void expect_v(const char* op, const Pipeline& model) {
  const SchedulerConfig& s = model.scheduler;
  if (s.prediction_type != Prediction::v || s.beta_schedule.path != &Path::variance_preserving)
    throw Error(op,
                fmt::format("expected a network that predicts v of DDPM's process, got {} of {}",
                            s.prediction_type.name, s.beta_schedule.path->name));
}

Var denoising_loss(const Pipeline& model, const Schedule& schedule, const Sample& s) {
  const Tensor xt = q_sample(schedule, s.x0, s.t, s.eps);
  const Tensor want = target(model.scheduler.prediction_type, schedule, s.x0, s.eps, s.t);
  return mse((*model.network)(xt, schedule.network_time(s.t), s.labels), want);
}

}  // namespace training

using namespace training;

void train_denoiser(Pipeline& model, const data::Batches& batches, std::uint64_t seed,
                    const nn::FitOptions& options) {
  const Schedule schedule = make_schedule(model.scheduler);
  nn::fit(*model.params, options, [&](std::int64_t k) {
    const auto [x0, labels] = batches.at(k);
    const Tensor t = random_index(seed, k, x0.dim(0), schedule.steps());
    return denoising_loss(model, schedule, {x0, noise(seed, k, x0.shape()), t, labels});
  });
}

void train_weighted(Pipeline& model, const data::Batches& batches,
                    const std::vector<double>& weights, std::uint64_t seed,
                    const nn::FitOptions& options) {
  const Schedule schedule = make_schedule(model.scheduler);
  if (std::ssize(weights) != schedule.steps())
    throw Error("train_weighted",
                fmt::format("{} weights for {} timesteps", weights.size(), schedule.steps()));
  const Loss loss(LossFunction::mse, weights);
  nn::fit(*model.params, options, [&](std::int64_t k) {
    const auto [x0, labels] = batches.at(k);
    const std::int64_t n = x0.dim(0);
    const Tensor t = random_index(seed, k, n, schedule.steps()), eps = noise(seed, k, x0.shape());
    const Tensor xt = q_sample(schedule, x0, t, eps);
    const Tensor want = target(model.scheduler.prediction_type, schedule, x0, eps, t);
    return loss((*model.network)(xt, schedule.network_time(t), labels), want, t);
  });
}

void train_at_last_time(Pipeline& model, const data::Batches& batches, std::uint64_t seed,
                        const nn::FitOptions& options) {
  const Schedule schedule = make_schedule(model.scheduler);
  nn::fit(*model.params, options, [&](std::int64_t k) {
    const auto [x0, labels] = batches.at(k);
    const Tensor t =
        Tensor::full({x0.dim(0)}, static_cast<double>(schedule.steps() - 1), DType::i64);
    return denoising_loss(model, schedule, {x0, noise(seed, k, x0.shape()), t, labels});
  });
}

void copy_weights(const Pipeline& from, Pipeline& to) {
  if (from.params->count() != to.params->count())
    throw Error("copy_weights", fmt::format("{} weights for a network of {}", from.params->count(),
                                            to.params->count()));
  Tensor(to.params->flat_values()).copy_from(from.params->flat_values());
  to.params->refresh();
}

}  // namespace sfumato::diffusion
