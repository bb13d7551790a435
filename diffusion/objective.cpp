#include "diffusion/objective.h"

#include "diffusion/expect.h"
#include "diffusion/forward.h"
#include "diffusion/names.h"

namespace sfumato::diffusion {

// ε-prediction divides by √ᾱ, which is near 0 where sampling begins: clipping x̂_0 tames it.
const Prediction Prediction::eps = {
    .name = "eps",
    .diffusers = "epsilon",
    .help = "the noise",
    .clip_sample = true,
    .target = [](auto&, auto&, auto&, auto& eps) { return eps; },
    .to_x0 = [](auto& signal, auto& noise, auto& xt,
                auto& eps) { return 1 / signal * xt - noise / signal * eps; },
    .to_eps = [](auto&, auto&, auto&, auto& eps) { return eps; },
};

const Prediction Prediction::x0 = {
    .name = "x0",
    .diffusers = "sample",
    .help = "the picture",
    .clip_sample = false,
    .target = [](auto&, auto&, auto& x0, auto&) { return x0; },
    .to_x0 = [](auto&, auto&, auto&, auto& x0) { return x0; },
    .to_eps = [](auto& signal, auto& noise, auto& xt,
                 auto& x0) { return 1 / noise * xt - signal / noise * x0; },
};

const Prediction Prediction::v = {
    .name = "v",
    .diffusers = "v_prediction",
    .help = "√ᾱ ε - √(1-ᾱ) x_0",
    .clip_sample = false,
    .target = [](auto& signal, auto& noise, auto& x0,
                 auto& eps) { return signal * eps - noise * x0; },
    .to_x0 = [](auto& signal, auto& noise, auto& xt, auto& v) { return signal * xt - noise * v; },
    .to_eps = [](auto& signal, auto& noise, auto& xt, auto& v) { return noise * xt + signal * v; },
};

const Prediction& parse_prediction(std::string_view name) {
  return parse_row("prediction_type", Prediction::all, name);
}

Tensor target(const Prediction& prediction, const Schedule& schedule, const Tensor& x0,
              const Tensor& eps, const Tensor& t) {
  expect_batch("target", schedule, t, {"x0", x0}, {"eps", eps});
  const auto [signal, noise] = levels(schedule, t);
  return prediction.target(signal, noise, x0, eps);
}

Tensor to_x0(const Prediction& prediction, const Schedule& schedule, const Tensor& output,
             const Tensor& xt, const Tensor& t) {
  expect_batch("to_x0", schedule, t, {"xt", xt}, {"output", output});
  const auto [signal, noise] = levels(schedule, t);
  return prediction.to_x0(signal, noise, xt, output);
}

Tensor to_eps(const Prediction& prediction, const Schedule& schedule, const Tensor& output,
              const Tensor& xt, const Tensor& t) {
  expect_batch("to_eps", schedule, t, {"xt", xt}, {"output", output});
  const auto [signal, noise] = levels(schedule, t);
  return prediction.to_eps(signal, noise, xt, output);
}

Tensor guided(const Tensor& cond, const Tensor& uncond, double w) {
  expect_alike("guided", {"cond", cond}, {"uncond", uncond});
  return w * cond + (1 - w) * uncond;
}

}  // namespace sfumato::diffusion
