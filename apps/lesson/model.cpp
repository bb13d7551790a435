// Chapters 4, 5 and 7: what the trained model of the page answers, how good that is, and the way back.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "apps/lesson/bridge.h"
#include "autograd/ops.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/gaussian.h"
#include "diffusion/generate.h"
#include "diffusion/objective.h"
#include "tensor/io/json.h"
#include "tensor/rng.h"

namespace sfumato::lesson {
namespace {

Tensor labels_of(const Json& args, std::int64_t n) {
  if (!model().conditioning().has_table()) return {};
  const double none = static_cast<double>(model().conditioning().null_label.value_or(0));
  return Tensor::full({n}, args.value("label", none), DType::i64);
}

// The network with classifier-free guidance, for n pictures of one class.
diffusion::Denoiser denoiser(const Json& args, std::int64_t n) {
  const double w = args.value("guidance", diffusion::default_guidance(model()));
  const Tensor labels = labels_of(args, n);
  const Tensor none = w == 1 ? Tensor() : labels_of(Json::object(), n);
  return [=](const Tensor& xt, double t) {
    const Tensor time = Tensor::full({n}, t, DType::i64);
    const Tensor output = network(xt, time, labels);
    return w == 1 ? output : diffusion::guided(output, network(xt, time, none), w);
  };
}

// Whether the best linear denoiser is computed of all pixels together, or of each alone: the matrix has as many rows.
bool full_covariance(const Shape& pictures) {
  return pictures[1] * pictures[2] * pictures[3] <= 1024;
}

// {}: the model and its parts, in words for the page.
Json describe(const Json&) {
  const diffusion::Pipeline& m = model();
  Json names = Json::array();
  for (const std::int64_t label : diffusion::drawable_labels(m))
    names.push_back({{"label", label}, {"name", diffusion::class_name(label, m)}});
  const Shape& shape = pictures().images.shape();
  return {{"parameters", m.params->count()},
          {"prediction", m.scheduler.prediction_type.name},
          {"schedule", m.scheduler.beta_schedule.name},
          {"steps", m.scheduler.num_train_timesteps},
          {"guidance", diffusion::default_guidance(m)},
          {"classes", names},
          {"height", shape[1]},
          {"width", shape[2]},
          {"channels", shape[3]},
          {"pictures", shape[0]},
          {"linear", full_covariance(shape) ? "full" : "diagonal"},
          {"run", std::filesystem::exists("run.json") ? io::read_json("run.json") : Json()}};
}

double mean_square(const Tensor& a, const Tensor& b) {
  NoGrad no_grad;
  return mse(a, b).value().item();
}

// Chapter 4. {picture or pixels, t, label, seed}: x_t, the noise in it, the network's two answers.
Json ask(const Json& args) {
  const diffusion::Prediction prediction = model().scheduler.prediction_type;
  const std::int64_t t = args.at("t");
  const Tensor x0 = picture_of(args), time = times(1, t);
  const Tensor eps = Rng(args.value("seed", 0), Purpose::noise, 0).normal(x0.shape());
  const Tensor xt = diffusion::q_sample(schedule(), x0, time, eps);
  const Tensor output = network(xt, time, labels_of(args, 1));
  const Tensor eps_hat = diffusion::to_eps(prediction, schedule(), output, xt, time);
  const Tensor x0_hat = diffusion::to_x0(prediction, schedule(), output, xt, time);
  Json reply = {{"x0", pixels(x0)},
                {"xt", pixels(xt)},
                {"eps", pixels(eps)},
                {"eps_hat", pixels(eps_hat)},
                {"x0_hat", pixels(x0_hat)},
                {"eps_error", mean_square(eps_hat, eps)},
                {"x0_error", mean_square(x0_hat, x0)},
                {"signal", schedule().level(t).signal()},
                {"noise", schedule().level(t).noise()}};
  if (args.value("exact", false)) reply["numbers"] = numbers(eps_hat);
  return reply;
}

// The Gaussian with the pictures' mean and covariance: its best denoiser is the best linear one for the pictures.
diffusion::Gaussian gaussian_of(const Tensor& images) {
  const std::int64_t n = images.dim(0), D = images.size() / n;
  Tensor x = images.reshape({n, D});
  diffusion::Gaussian g;
  g.mean.resize(static_cast<std::size_t>(D));
  float* at = x.data<float>();
  for (std::int64_t i = 0; i < x.size(); ++i)
    g.mean[static_cast<std::size_t>(i % D)] += at[i] / static_cast<double>(n);
  for (std::int64_t i = 0; i < x.size(); ++i)
    at[i] -= static_cast<float>(g.mean[static_cast<std::size_t>(i % D)]);
  if (!full_covariance(images.shape())) {
    g.covariance.resize(g.mean.size());
    for (std::int64_t i = 0; i < x.size(); ++i)
      g.covariance[static_cast<std::size_t>(i % D)] +=
          double{at[i]} * at[i] / static_cast<double>(n);
    return g;
  }
  NoGrad no_grad;
  const Tensor products = matmul(permute(x, {1, 0}), x).value();
  for (const float product : products.values<float>())
    g.covariance.push_back(product / static_cast<double>(n));
  return g;
}

// Pictures that `loss` compares on, the last of all; the linear denoiser is fitted to the others.
constexpr std::int64_t kCompared = 48;

const diffusion::Gaussian& linear_model() {
  static const diffusion::Gaussian g = gaussian_of(
      data::to_signed(pictures().images.slice(0, pictures().images.dim(0) - kCompared)));
  return g;
}

// Chapter 5. {t, seed}: the mean of ‖ε - ε̂‖² over pictures at one t, of the model and of what it is compared with.
Json loss(const Json& args) {
  const std::int64_t t = args.at("t"), total = pictures().images.dim(0);
  const Tensor x0 = data::to_signed(pictures().images.slice(total - kCompared, total));
  const Tensor eps =
      Rng(args.value("seed", 0), Purpose::noise, static_cast<std::uint64_t>(t)).normal(x0.shape());
  const Tensor time = times(kCompared, t), xt = diffusion::q_sample(schedule(), x0, time, eps);
  Tensor labels;
  if (model().conditioning().has_table())
    labels = pictures().labels.slice(total - kCompared, total);
  const Tensor output = network(xt, time, labels);
  const Tensor eps_hat =
      diffusion::to_eps(model().scheduler.prediction_type, schedule(), output, xt, time);
  const Tensor linear = diffusion::expected_eps({linear_model()}, schedule().level(t), xt);
  return {{"t", t},
          {"model", mean_square(eps_hat, eps)},
          {"linear", mean_square(linear, eps)},
          {"constant", mean_square(Tensor::zeros(eps.shape()), eps)},
          {"snr", schedule().level(t).snr()}};
}

// Chapter 7. {sampler, steps, eta, guidance, label, seed, count}: pictures drawn step by step. Each step is emitted
// with x and x̂_0; the last x is the answer, with exact: as numbers too.
Json draw(const Json& args) {
  const std::int64_t n = args.value("count", 1);
  diffusion::SampleOptions o{.config = model().scheduler,
                             .eta = args.value("eta", 0.0),
                             .seed = args.value("seed", std::uint64_t{0})};
  o.config.sampler = diffusion::parse_sampler(args.value("sampler", "ddim"));
  o.steps = args.value("steps", diffusion::default_steps(model(), o.config.sampler));
  o.on_step = [&](const diffusion::Progress& p) {
    emit({{"step", p.step}, {"t", p.t}, {"x", pixels(p.x)}, {"x0", pixels(p.x0)}});
  };
  const Tensor x_T =
      Rng(o.seed, Purpose::sample_start).normal(pictures().images.shape().with(0, n));
  emit({{"step", -1},
        {"t", schedule().steps()},
        {"x", pixels(x_T)},
        {"x0", pixels(Tensor::zeros(x_T.shape()))}});
  const Tensor x = diffusion::sample(schedule(), o, denoiser(args, n), x_T);
  Json reply = {{"x", pixels(x)}};
  if (args.value("exact", false)) reply["numbers"] = numbers(x), reply["start"] = numbers(x_T);
  return reply;
}

constexpr Function kFunctions[] = {
    {"describe", describe}, {"ask", ask}, {"loss", loss}, {"draw", draw}};

}  // namespace

std::span<const Function> model_functions() { return kFunctions; }

}  // namespace sfumato::lesson
