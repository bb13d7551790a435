// Chapters 6 and 7 in the plane: a small network that learns the score of a mixture, beside the exact one.
#include "diffusion/toy/plane.h"

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "apps/lesson/bridge.h"
#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/toy/mlp.h"
#include "nn/optim.h"
#include "tensor/rng.h"

namespace sfumato::lesson {
namespace {

using diffusion::operator*;

constexpr std::int64_t kBatch = 256, kWidth = 64;

// What is being learned, from plane_start on.
struct Toy {
  explicit Toy(const Json& args)
      : mixture(diffusion::toy::mixture(args.value("data", "ring"))),
        schedule(schedule_of(args)),
        params(args.value("seed", 0)),
        network(params, 2, kWidth),
        adam(params, {}),
        seed(args.value("seed", 0)) {}

  std::vector<diffusion::Gaussian> mixture;
  diffusion::Schedule schedule;
  nn::Params params;
  diffusion::toy::Mlp network;
  nn::AdamW adam;
  std::uint64_t seed, step = 0;
};
std::optional<Toy> toy;

Toy& current() {
  if (!toy) throw Error("plane", "expected plane_start first");
  return *toy;
}

// {data, schedule, steps, seed}: a new network, and points of the data.
Json plane_start(const Json& args) {
  toy.emplace(args);
  const Tensor points = diffusion::toy::draw(toy->mixture, 400, Rng(toy->seed, Purpose::general));
  return {{"points", numbers(points)}, {"parameters", toy->params.count()}};
}

// {count, of}: `count` steps of training out of `of` in all, which the learning rate falls over. -> the mean loss.
Json plane_train(const Json& args) {
  Toy& p = current();
  const int count = args.value("count", 50), all = args.value("of", 1500);
  double sum = 0;
  for (int i = 0; i < count; ++i, ++p.step) {
    const Tensor x0 =
        diffusion::toy::draw(p.mixture, kBatch, Rng(p.seed, Purpose::shuffle, p.step));
    const Tensor t = Rng(p.seed, Purpose::timestep, p.step).randint({kBatch}, p.schedule.steps());
    const Tensor eps = Rng(p.seed, Purpose::noise, p.step).normal(x0.shape());
    const Tensor xt = diffusion::q_sample(p.schedule, x0, t, eps);
    p.params.zero_grad();
    const Var loss = mse(p.network(xt, t), eps);
    loss.backward();
    const auto at = static_cast<std::int64_t>(p.step);
    p.adam.step(3e-3 * nn::warmup_cosine(at, 20, static_cast<double>(at) / all, 0.02));
    sum += loss.value().item();
  }
  return {{"step", p.step}, {"loss", sum / count}};
}

// ε_θ of the network, or E[ε | x_t] of the mixture.
diffusion::Denoiser answers(const Toy& p, bool exact) {
  if (exact) return diffusion::exact_denoiser(p.schedule, p.mixture, diffusion::Prediction::eps);
  return [&p](const Tensor& xt, double t) {
    NoGrad no_grad;
    return p.network(xt, Tensor::full({xt.dim(0)}, t, DType::i64)).value();
  };
}

// {t, cells, range}: the score -ε/σ on a square grid, learned and exact, and their losses at t.
Json plane_field(const Json& args) {
  const Toy& p = current();
  const std::int64_t t = args.at("t"), cells = args.value("cells", 15);
  const double range = args.value("range", 2.0);
  Tensor x({cells * cells, 2});
  float* at = x.data<float>();
  for (std::int64_t i = 0; i < cells * cells; ++i)
    for (const std::int64_t k : {i % cells, i / cells})
      *at++ = static_cast<float>(
          range * (2.0 * static_cast<double>(k) / static_cast<double>(cells - 1) - 1));
  const auto time = static_cast<double>(t);
  const Tensor x0 = diffusion::toy::draw(p.mixture, 1000, Rng(p.seed, Purpose::test));
  const Tensor eps = Rng(p.seed, Purpose::test, 1).normal(x0.shape());
  const Tensor xt = diffusion::q_sample(p.schedule, x0, times(1000, t), eps);
  Json reply = {{"grid", numbers(x)}, {"points", numbers(xt.slice(0, 300))}};
  for (const bool exact : {false, true}) {
    const diffusion::Denoiser eps_at = answers(p, exact);
    const Tensor e = eps_at(x, time);
    const Tensor score = -1 / p.schedule.level(t).noise() * e;
    NoGrad no_grad;
    reply[exact ? "exact" : "learned"] = {{"score", numbers(score)},
                                          {"loss", mse(eps_at(xt, time), eps).value().item()}};
  }
  return reply;
}

// {sampler, steps, eta, count, exact, seed}: the ways of `count` points from noise to data, [steps + 1][count * 2].
Json plane_paths(const Json& args) {
  const Toy& p = current();
  diffusion::SampleOptions o{.config = diffusion::default_scheduler(diffusion::Prediction::eps),
                             .steps = args.value("draw_steps", 50),
                             .eta = args.value("eta", 0.0),
                             .seed = args.value("seed", std::uint64_t{1})};
  o.config.num_train_timesteps = p.schedule.steps();
  o.config.clip_sample = false;
  o.config.sampler = diffusion::parse_sampler(args.value("sampler", "ddim"));
  const Tensor x_T = Rng(o.seed, Purpose::sample_start).normal({args.value("count", 200), 2});
  Json path = Json::array({numbers(x_T)});
  o.on_step = [&](const diffusion::Progress& step) { path.push_back(numbers(step.x)); };
  diffusion::sample(p.schedule, o, answers(p, args.value("exact", false)), x_T);
  return {{"path", path}};
}

constexpr Function kFunctions[] = {{"plane_start", plane_start},
                                   {"plane_train", plane_train},
                                   {"plane_field", plane_field},
                                   {"plane_paths", plane_paths}};

}  // namespace

std::span<const Function> plane_functions() { return kFunctions; }

}  // namespace sfumato::lesson
