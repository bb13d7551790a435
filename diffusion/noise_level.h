// How much of the picture and how much noise there is at one time:
//     x_t = a x_0 + σ ε,    ε ~ N(0, I).
// Every diffusion process of this library is a row of such pairs, one for each time:
//     DDPM (Ho 2020), "variance preserving":         a² + σ² = 1, tables of ᾱ_t = a² (schedule.h)
//     EDM (Karras 2022), "variance exploding":       a = 1, and σ is the time
//     flow matching (Lipman 2022, Liu 2022):         a = 1 − t, σ = t
// They differ in the size of x_t alone: divided by √(a² + σ²), x_t of any of them is DDPM's x_t with the same
// signal-to-noise ratio a² / σ². A formula in a and σ therefore holds for all.
#pragma once
#include <cmath>

namespace sfumato::diffusion {

// Kept as variances, in which DDPM's formulas are exact.
struct NoiseLevel {
  double signal_variance;  // a²
  double noise_variance;   // σ²

  double signal() const { return std::sqrt(signal_variance); }  // a
  double noise() const { return std::sqrt(noise_variance); }    // σ
  // a² / σ²: the variance that data of variance 1 have in x_t, over that of the noise. Variational diffusion models
  // (Kingma 2021), eq. 2. Infinite without noise.
  double snr() const { return signal_variance / noise_variance; }
  double log_snr() const { return std::log(snr()); }
  // σ / a: the noise in x_t / a = x_0 + (σ / a) ε, which EDM (Karras 2022) calls σ. Infinite without signal.
  double sigma() const { return std::sqrt(noise_variance / signal_variance); }
  // ᾱ of the variance-preserving process with this signal-to-noise ratio: a² / (a² + σ²).
  double alpha_bar() const { return signal_variance / (signal_variance + noise_variance); }
};

// The picture itself: x_0.
inline constexpr NoiseLevel kNoNoise = {1, 0};

inline NoiseLevel variance_preserving(double alpha_bar) { return {alpha_bar, 1 - alpha_bar}; }
inline NoiseLevel variance_exploding(double sigma) { return {1, sigma * sigma}; }
inline NoiseLevel flow_matching(double t) { return {(1 - t) * (1 - t), t * t}; }

// ᾱ = 1 / (1 + e^{−λ}), where λ = log(a² / σ²).
inline NoiseLevel variance_preserving_at_log_snr(double log_snr) {
  return {1 / (1 + std::exp(-log_snr)), 1 / (1 + std::exp(log_snr))};
}

}  // namespace sfumato::diffusion
