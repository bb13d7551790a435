#include "diffusion/path.h"

#include <cmath>

#include "diffusion/objective.h"

namespace sfumato::diffusion {

const Path Path::variance_preserving = {
    .name = "variance_preserving",
    .help = "a² + σ² = 1 (DDPM)",
    .size = [](const NoiseLevel& l) { return std::sqrt(l.signal_variance + l.noise_variance); },
    .time = [](const NoiseLevel& l) { return std::atan2(l.noise(), l.signal()); },
    .at_time =
        [](double phi) {
          return NoiseLevel{std::cos(phi) * std::cos(phi), std::sin(phi) * std::sin(phi)};
        },
    .velocity = &Prediction::v,
    .solver = &Path::variance_exploding,
    .network_time = [](double t, const NoiseLevel&, double) { return t; },
    .told = nullptr,
};

// The network is told c_noise = log(σ) / 4. EDM (Karras 2022), table 1.
const Path Path::variance_exploding = {
    .name = "variance_exploding",
    .help = "a = 1 (EDM)",
    .size = [](const NoiseLevel& l) { return l.signal(); },
    .time = [](const NoiseLevel& l) { return l.sigma(); },
    .at_time = [](double sigma) { return diffusion::variance_exploding(sigma); },
    .velocity = &Prediction::eps,
    .solver = &Path::variance_exploding,
    .network_time = [](double, const NoiseLevel& l, double) { return std::log(l.noise()) / 4; },
    .told = [](double time, double) { return diffusion::variance_exploding(std::exp(4 * time)); },
};

const Path Path::edm = {
    .name = "edm",
    .help = "a² / 4 + σ² = 1 (EDM's network)",
    .size =
        [](const NoiseLevel& l) {
          return std::sqrt(kSigmaData * kSigmaData * l.signal_variance + l.noise_variance);
        },
    .time = [](const NoiseLevel& l) { return std::atan2(l.noise(), kSigmaData * l.signal()); },
    .at_time =
        [](double phi) {
          const double signal = std::cos(phi) / kSigmaData, noise = std::sin(phi);
          return NoiseLevel{signal * signal, noise * noise};
        },
    .velocity = &Prediction::edm_v,
    .solver = &Path::variance_exploding,
    .network_time = [](double, const NoiseLevel& l, double) { return std::log(l.sigma()) / 4; },
    .told = [](double time, double) { return edm.at_sigma(std::exp(4 * time)); },
};

// The network is told T σ, as the pipelines of diffusers tell it.
const Path Path::flow = {
    .name = "flow",
    .help = "a = 1 - σ (flow matching)",
    .size = [](const NoiseLevel& l) { return l.signal() + l.noise(); },
    .time = [](const NoiseLevel& l) { return l.noise() / (l.signal() + l.noise()); },
    .at_time = [](double t) { return flow_matching(t); },
    .velocity = &Prediction::flow,
    .solver = &Path::flow,
    .network_time = [](double, const NoiseLevel& l, double T) { return T * l.noise(); },
    .told = [](double time, double T) { return flow_matching(time / T); },
};

NoiseLevel Path::with_snr_of(const NoiseLevel& level) const {
  const double scale = size(level) * size(level);
  return {level.signal_variance / scale, level.noise_variance / scale};
}

}  // namespace sfumato::diffusion
