// What the network learns: to see x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε and the time t, and to say what the
// noise was. Given x_t, knowing ε is knowing x_0, so the answer may come in several forms:
//     eps:    ε                                DDPM (Ho 2020), eq. 14: L = ‖ε − ε_θ(x_t, t)‖²
//     x0:     x_0
//     v:      v = √ᾱ_t ε − √(1−ᾱ_t) x_0        Progressive distillation (Salimans & Ho 2022), app. D
//     flow:   u = ε − x_0                      Flow matching (Lipman 2022), rectified flow (Liu 2022)
//     score:  ∇ log q(x_t | x_0) = −ε / σ_t    Score matching (Song 2021), eq. 7
//     edm:    F of D(x) = c_skip x + c_out F   EDM (Karras 2022), eq. 7 and table 1; with data of variance 1 instead of
//                                              0.25, F is −v
//     edm_v:  −F
// As √ᾱ_t = cos φ and √(1−ᾱ_t) = sin φ for some angle, (x_t, v) is (x_0, ε) turned by φ: v stays of
// size 1 at both ends, where ε says nothing (t → 0) or x_0 everything (t → T).
//
// Shapes as in forward.h: x0, eps, xt, output [N, ...], t i64 [N]. Where the answer is an argument
// (the eps of a network that predicts eps), that handle is returned, not a copy.
#pragma once
#include <string_view>

#include "diffusion/forward.h"
#include "diffusion/schedule.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// A form of the answer: a row of objective.cpp. A new one is defined there and named in the two lists below: the
// command line, the JSON files, the help and the tests find it there. Its formulas see the coefficients of
// x_t = signal x_0 + noise ε, so that it serves every process of noise_level.h.
struct Prediction {
  using Formula = Tensor (*)(const Coefficient& signal, const Coefficient& noise, const Tensor&,
                             const Tensor&);

  std::string_view name;       // after the papers
  std::string_view diffusers;  // in scheduler_config.json
  std::string_view help;
  bool clip_sample;  // whether a new model clips x̂_0
  // Whether the answer says nothing of x_0 where x_t has no signal: such a network cannot begin at SNR 0.
  bool needs_signal = false;
  Formula target;  // (signal, noise, x0, eps) -> what the network should have answered
  Formula to_x0;   // (signal, noise, xt, output) -> x̂_0
  Formula to_eps;  // (signal, noise, xt, output) -> ε̂
  // ∂ε̂/∂output, the factor of the output in to_eps: ‖ε − ε̂‖² is its square times ‖target − output‖².
  double (*eps_per_output)(double signal, double noise) = nullptr;

  static const Prediction eps, x0, v, flow, score, edm, edm_v;
  static constexpr const Prediction* all[] = {&eps, &x0, &v, &flow, &score, &edm, &edm_v};

  bool operator==(const Prediction& other) const { return name == other.name; }
};

// By either name; throws Error for another.
const Prediction& parse_prediction(std::string_view name);

// What a network of this kind should have answered; the loss is the mean of (output − target)².
Tensor target(const Prediction& prediction, const Schedule& schedule, const Tensor& x0,
              const Tensor& eps, const Tensor& t);

// The estimate of x_0 in a network's output. For eps: DDPM, eq. 15,
//     x̂_0 = (x_t − √(1−ᾱ_t) ε_θ) / √ᾱ_t;    for v:  x̂_0 = √ᾱ_t x_t − √(1−ᾱ_t) v_θ.
Tensor to_x0(const Prediction& prediction, const Schedule& schedule, const Tensor& output,
             const Tensor& xt, const Tensor& t);

// The estimate of ε in a network's output. For x0:
//     ε̂ = (x_t − √ᾱ_t x̂_0) / √(1−ᾱ_t);      for v:  ε̂ = √(1−ᾱ_t) x_t + √ᾱ_t v_θ.
Tensor to_eps(const Prediction& prediction, const Schedule& schedule, const Tensor& output,
              const Tensor& xt, const Tensor& t);

// What an output of the network says about x_0 and ε.
struct Estimate {
  Tensor x0, eps;
};

// The same at one noise level, of any process.
Estimate read(const Prediction& prediction, const NoiseLevel& level, const Tensor& xt,
              const Tensor& output);
Tensor eps_of_x0(const NoiseLevel& level, const Tensor& xt, const Tensor& x0);

// Classifier-free guidance (Ho & Salimans 2021), eq. 6: ε = ε_u + w (ε_c − ε_u), away from what the
// network says without the label and on past what it says with it. w = 1 is no guidance, as in
// `diffusers` (the paper's own w is one less). The two weights, w and 1 − w, sum to 1; so x0 and v,
// which for a given x_t are ε times a number plus an offset, may be guided by the same formula.
Tensor guided(const Tensor& cond, const Tensor& uncond, double w);

}  // namespace sfumato::diffusion
