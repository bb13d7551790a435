#include "diffusion/objective.h"

#include <cmath>

#include "diffusion/expect.h"
#include "diffusion/forward.h"
#include "diffusion/names.h"

namespace sfumato::diffusion {

namespace {

// a² + σ². Where variance is preserved this is 1, and (√ᾱ)² + (√(1−ᾱ))² a rounding off.
Coefficient variance(const Coefficient& signal, const Coefficient& noise) {
  return map(signal * signal + noise * noise,
             [](double v) { return std::abs(v - 1) < 1e-12 ? 1.0 : v; });
}

}  // namespace

// ε-prediction divides by √ᾱ, which is near 0 where sampling begins: clipping x̂_0 tames it.
const Prediction Prediction::eps = {
    .name = "eps",
    .diffusers = "epsilon",
    .help = "the noise",
    .clip_sample = true,
    .needs_signal = true,
    .target = [](auto&, auto&, auto&, auto& eps) { return eps; },
    .to_x0 = [](auto& signal, auto& noise, auto& xt,
                auto& eps) { return 1 / signal * xt - noise / signal * eps; },
    .to_eps = [](auto&, auto&, auto&, auto& eps) { return eps; },
    .eps_per_output = [](double, double) { return 1.0; },
};

const Prediction Prediction::x0 = {
    .name = "x0",
    .diffusers = "sample",
    .help = "the picture",
    .clip_sample = false,
    .needs_signal = false,
    .target = [](auto&, auto&, auto& x0, auto&) { return x0; },
    .to_x0 = [](auto&, auto&, auto&, auto& x0) { return x0; },
    .to_eps = [](auto& signal, auto& noise, auto& xt,
                 auto& x0) { return 1 / noise * xt - signal / noise * x0; },
    .eps_per_output = [](double signal, double noise) { return -signal / noise; },
};

// The way back from x_t = a x_0 + σ ε is divided by a² + σ², which is 1 where variance is preserved.
const Prediction Prediction::v = {
    .name = "v",
    .diffusers = "v_prediction",
    .help = "√ᾱ ε - √(1-ᾱ) x_0",
    .clip_sample = false,
    .needs_signal = false,
    .target = [](auto& signal, auto& noise, auto& x0,
                 auto& eps) { return signal * eps - noise * x0; },
    .to_x0 =
        [](auto& signal, auto& noise, auto& xt, auto& v) {
          const Coefficient size = variance(signal, noise);
          return signal / size * xt - noise / size * v;
        },
    .to_eps =
        [](auto& signal, auto& noise, auto& xt, auto& v) {
          const Coefficient size = variance(signal, noise);
          return noise / size * xt + signal / size * v;
        },
    .eps_per_output = [](double signal,
                         double noise) { return signal / variance(signal, noise).table()[0]; },
};

// From x_t = a x_0 + σ ε and u = ε − x_0:  (a + σ) x_0 = x_t − σ u,  (a + σ) ε = x_t + a u.
const Prediction Prediction::flow = {
    .name = "flow",
    .diffusers = "flow_prediction",
    .help = "ε - x_0",
    .clip_sample = false,
    .needs_signal = false,
    .target = [](auto&, auto&, auto& x0, auto& eps) { return 1.0 * eps - 1.0 * x0; },
    .to_x0 = [](auto& signal, auto& noise, auto& xt,
                auto& u) { return 1 / (signal + noise) * xt - noise / (signal + noise) * u; },
    .to_eps = [](auto& signal, auto& noise, auto& xt,
                 auto& u) { return 1 / (signal + noise) * xt + signal / (signal + noise) * u; },
    .eps_per_output = [](double signal, double noise) { return signal / (signal + noise); },
};

const Prediction Prediction::score = {
    .name = "score",
    .diffusers = "score",
    .help = "-ε / √(1-ᾱ)",
    .clip_sample = true,
    .needs_signal = true,
    .target = [](auto&, auto& noise, auto&, auto& eps) -> Tensor { return -1 / noise * eps; },
    .to_x0 = [](auto& signal, auto& noise, auto& xt,
                auto& score) { return 1 / signal * xt + noise * noise / signal * score; },
    .to_eps = [](auto&, auto& noise, auto&, auto& score) -> Tensor { return -noise * score; },
    .eps_per_output = [](double, double noise) { return -noise; },
};

namespace {

// √(σ² + σ_data² a²): the size of x_t, where that of the data is σ_data.
Coefficient edm_size(const Coefficient& signal, const Coefficient& noise) {
  return map(noise * noise + kSigmaData * kSigmaData * signal * signal,
             [](double v) { return std::sqrt(v); });
}

}  // namespace

// In EDM's words a = 1, c_skip = σ_data² / size², c_out = σ σ_data / size; here for any a:
//     x̂_0 = σ_data² a / size² x_t + σ σ_data / size F.
const Prediction Prediction::edm = {
    .name = "edm",
    .diffusers = "edm",
    .help = "EDM's F, of x̂_0 = c_skip x_t + c_out F",
    .clip_sample = false,
    .needs_signal = false,
    .target =
        [](auto& signal, auto& noise, auto& x0, auto& eps) {
          const Coefficient size = edm_size(signal, noise);
          return noise / (kSigmaData * size) * x0 - kSigmaData * signal / size * eps;
        },
    .to_x0 =
        [](auto& signal, auto& noise, auto& xt, auto& F) {
          const Coefficient size = edm_size(signal, noise);
          return kSigmaData * kSigmaData * signal / (size * size) * xt +
                 kSigmaData * noise / size * F;
        },
    .to_eps =
        [](auto& signal, auto& noise, auto& xt, auto& F) {
          const Coefficient size = edm_size(signal, noise);
          return noise / (size * size) * xt - kSigmaData * signal / size * F;
        },
    .eps_per_output =
        [](double signal, double noise) {
          return -kSigmaData * signal / edm_size(signal, noise).table()[0];
        },
};

// v of EDM's process, where (2 x_0, ε) is turned by an angle as (x_0, ε) is in DDPM's.
const Prediction Prediction::edm_v = {
    .name = "edm_v",
    .diffusers = "edm_v",
    .help = "-F",
    .clip_sample = false,
    .needs_signal = false,
    .target = [](auto& signal, auto& noise, auto& x0, auto& eps) -> Tensor {
      return -1.0 * edm.target(signal, noise, x0, eps);
    },
    .to_x0 = [](auto& signal, auto& noise, auto& xt,
                auto& v) { return edm.to_x0(signal, noise, xt, -1.0 * v); },
    .to_eps = [](auto& signal, auto& noise, auto& xt,
                 auto& v) { return edm.to_eps(signal, noise, xt, -1.0 * v); },
    .eps_per_output = [](double signal,
                         double noise) { return -edm.eps_per_output(signal, noise); },
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

Estimate read(const Prediction& prediction, const NoiseLevel& level, const Tensor& xt,
              const Tensor& output) {
  const auto [signal, noise] = levels(level);
  return {prediction.to_x0(signal, noise, xt, output),
          prediction.to_eps(signal, noise, xt, output)};
}

Tensor eps_of_x0(const NoiseLevel& level, const Tensor& xt, const Tensor& x0) {
  const auto [signal, noise] = levels(level);
  return Prediction::x0.to_eps(signal, noise, xt, x0);
}

Tensor guided(const Tensor& cond, const Tensor& uncond, double w) {
  expect_alike("guided", {"cond", cond}, {"uncond", uncond});
  return w * cond + (1 - w) * uncond;
}

}  // namespace sfumato::diffusion
