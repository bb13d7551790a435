// Chapter 10: the variational bound of the page's model taken apart, and of Gaussian numbers beside their exact likelihood.
#include "diffusion/bound.h"

#include <cmath>
#include <numbers>

#include "apps/lesson/bridge.h"
#include "diffusion/data/batches.h"
#include "diffusion/gaussian.h"
#include "tensor/rng.h"

namespace sfumato::lesson {
namespace {

using diffusion::Schedule;

Json in_words(const diffusion::VariationalBound& bound) {
  Json terms = Json::array();
  for (const diffusion::VariationalBound::Term& term : bound.between)
    terms.push_back({{"first", term.first}, {"count", term.count}, {"bits", term.bits}});
  return {{"prior", bound.prior},
          {"terms", terms},
          {"last_step", bound.last_step},
          {"total", bound.total()}};
}

// {picture, count, stride, seed}: the bound of the model on these pictures, in bits for each number of a picture.
Json bound(const Json& args) {
  const std::int64_t first = args.value("picture", std::int64_t{0}),
                     count = args.value("count", std::int64_t{4});
  const Tensor labels = pictures().labels.slice(first, first + count);
  const auto denoiser = [&](const Tensor& xt, double t) {
    return network(xt, Tensor::full({count}, t),
                   model().conditioning().has_table() ? labels : Tensor());
  };
  return in_words(diffusion::variational_bound(
      schedule(), model().scheduler.prediction_type, denoiser,
      data::to_signed(pictures().images.slice(first, first + count)),
      {.seed = args.value("seed", std::uint64_t{0}), .stride = args.value("stride", 64)}));
}

// {points}: what ‖ε̄ − ε_θ‖² is multiplied by in L_t, at so many t. (With ‖x_0 − x̂_0‖² = σ²/a² ‖ε̄ − ε_θ‖².)
Json bound_weights(const Json& args) {
  const std::int64_t points = args.value("points", 60), last = schedule().steps() - 1;
  Json t = Json::array(), weight = Json::array();
  for (std::int64_t i = 0; i < points; ++i) {
    const std::int64_t at = 1 + i * (last - 2) / (points - 1);
    t.push_back(at);
    weight.push_back(diffusion::bound_weight(schedule().level(at - 1), schedule().level(at)) /
                     schedule().level(at).snr());
  }
  return {{"t", t}, {"weight", weight}};
}

// {steps, schedule, sigma, count, seed}: numbers from N(0.3, σ²), their exact −log₂ p and the bound with their best
// denoiser. Schedule "even": the log-SNR falls evenly.
Json bound_gaussian(const Json& args) {
  using diffusion::Prediction;
  constexpr double kMean = 0.3;
  const double sigma = args.value("sigma", 0.5);
  const bool even = args.value("schedule", "even") == "even";
  const Schedule s = even ? Schedule::even_log_snr(args.value("steps", 100)) : schedule_of(args);
  Tensor x = Rng(args.value("seed", std::uint64_t{0}), Purpose::general)
                 .normal({args.value("count", std::int64_t{1000}), 1}, DType::f64);
  double nats = 0;
  for (double& z : x.values<double>()) {
    nats += z * z / 2 + std::log(sigma) + std::log(2 * std::numbers::pi) / 2;
    z = kMean + sigma * z;
  }
  const auto denoiser =
      diffusion::exact_denoiser(s, {{1, {kMean}, {sigma * sigma}}}, Prediction::v);
  Json reply = in_words(diffusion::variational_bound(
      s, Prediction::v, denoiser, x,
      {.last_step = diffusion::LastStep::density, .seed = args.value("seed", std::uint64_t{0})}));
  reply.erase("terms");
  reply["exact"] = nats / static_cast<double>(x.size()) / std::numbers::ln2;
  return reply;
}

constexpr Function kFunctions[] = {
    {"bound", bound}, {"bound_weights", bound_weights}, {"bound_gaussian", bound_gaussian}};

}  // namespace

std::span<const Function> bound_functions() { return kFunctions; }

}  // namespace sfumato::lesson
