#include "diffusion/toy/learn.h"

#include <memory>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/times.h"
#include "diffusion/toy/mlp.h"
#include "nn/fit.h"

namespace sfumato::diffusion::toy {
namespace {

struct Network {
  explicit Network(const LearnOptions& o) : params(o.seed), mlp(params, 2, o.width) {}
  nn::Params params;
  Mlp mlp;
};

// The schedule's levels, as DDPM's.
Schedule variance_preserving_like(const Schedule& schedule) {
  Schedule s = schedule;
  s.path = &Path::variance_preserving;
  return s;
}

}  // namespace

Answer learn(const Distribution& distribution, const Schedule& schedule, const LearnOptions& o) {
  const auto network = std::make_shared<Network>(o);
  const Schedule levels = variance_preserving_like(schedule);
  const Times times(TimeDistribution::edm, levels);
  const auto stream = [&](Purpose purpose, std::int64_t k) {
    return Rng(o.seed, purpose, static_cast<std::uint64_t>(k));
  };
  nn::FitOptions fit{.steps = o.steps, .lr = o.lr, .on_step = o.on_step};
  nn::fit(network->params, fit, [&](std::int64_t k) {
    const Tensor x0 = distribution.draw(o.batch, stream(Purpose::shuffle, k));
    const Tensor t = times.draw(stream(Purpose::timestep, k), o.batch);
    const Tensor eps = stream(Purpose::noise, k).normal(x0.shape());
    return mse(network->mlp(q_sample(levels, x0, t, eps), t),
               target(o.prediction, levels, x0, eps, t));
  });
  return [network, schedule, prediction = o.prediction](const NoiseLevel& level, const Tensor& xt) {
    NoGrad no_grad;
    const double size = Path::variance_preserving.size(level);
    const Tensor x = 1 / size * xt;
    const Tensor t = Tensor::full({1}, schedule.time_at(level));
    const Tensor output = network->mlp(x.to(DType::f32), t).value().to(xt.dtype());
    return read(prediction, variance_preserving(level.alpha_bar()), x, output);
  };
}

}  // namespace sfumato::diffusion::toy
