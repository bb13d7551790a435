// The processes of this library, as choices of (a, σ) in x_t = a x_0 + σ ε. All have the same pictures and noise at
// the same signal-to-noise ratio and differ in the size of x_t alone (noise_level.h); so each is a row that says what
// DDPM's pair (√ᾱ, √(1−ᾱ)) is divided by:
//
//     row                   size           a, σ                      its time                dx/dtime
//     variance_preserving   √(a² + σ²)     a² + σ² = 1               angle φ = atan(σ / a)   v = a ε − σ x_0
//     variance_exploding    a              1, σ                      σ                       ε
//     edm                   √(¼ a² + σ²)   ¼ a² + σ² = 1             atan(σ / (½ a))         −F = ½ a ε − 2 σ x_0
//     flow                  a + σ          1 − t, t                  t                       ε − x_0
//
// edm is variance_exploding's x times c_in = 1 / √(σ_data² + σ²), as EDM's networks see it (Karras 2022, table 1): where the
// data have the standard deviation σ_data = ½, x_t has 1.
//
// The last column is what a network of that process is usually asked for, and what an ODE solver integrates. x of one
// process divided by `size` is x of another, so a solver may step in the coordinates of any of them, whatever the
// network was trained in.
#pragma once
#include <string_view>

#include "diffusion/noise_level.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

struct Prediction;

// EDM's σ_data: what it takes for the standard deviation of the data. Karras 2022, table 1.
inline constexpr double kSigmaData = 0.5;

struct Path {
  std::string_view name;
  std::string_view help;
  double (*size)(const NoiseLevel& level);
  double (*time)(const NoiseLevel& level);  // of a level of any process
  NoiseLevel (*at_time)(double time);       // of this process
  const Prediction* velocity;               // dx/dtime, as a function of x_0 and ε
  // In whose coordinates solvers step, and noise between two timesteps is straight: for DDPM's process EDM's σ, as in
  // k-diffusion and `diffusers`.
  const Path* solver;
  // The number that a network is told at timestep t of 0..T−1, where the noise is `level` of this process.
  double (*network_time)(double t, const NoiseLevel& level, double T);
  // The level of which a network is told `time`; null where only a table knows, as time is a timestep.
  NoiseLevel (*told)(double time, double T);

  static const Path variance_preserving, variance_exploding, edm, flow;
  static constexpr const Path* all[] = {&variance_preserving, &variance_exploding, &edm, &flow};

  bool operator==(const Path& other) const { return name == other.name; }

  // The level of this process with the signal-to-noise ratio of `level`, which may be of any process. Infinite for
  // variance_exploding where there is no signal.
  NoiseLevel with_snr_of(const NoiseLevel& level) const;
  NoiseLevel at_alpha_bar(double alpha_bar) const {
    return with_snr_of(diffusion::variance_preserving(alpha_bar));
  }
  NoiseLevel at_sigma(double sigma) const {  // σ / a = sigma
    return with_snr_of(diffusion::variance_exploding(sigma));
  }
  NoiseLevel at_log_snr(double log_snr) const {
    return with_snr_of(variance_preserving_at_log_snr(log_snr));
  }
};

}  // namespace sfumato::diffusion
