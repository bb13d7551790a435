// Ways to train a network that draws pictures. All of them show it x_t = a x_0 + σ ε and t and compare its answer with
// a target; they differ in which x_0 and ε stand together and in what the answer is compared with. Each is a short loop
// beside its equation, for a Pipeline whose network has labels or none; batches are functions of the step's number.
#pragma once
#include <cstdint>
#include <vector>

#include "diffusion/data/batches.h"
#include "diffusion/pipeline.h"
#include "nn/fit.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// Where a method is meant for networks that predict v of DDPM's process, another one is an Error.

// L = ‖target − network(x_t, t)‖², t uniform: DDPM (Ho 2020), eq. 14, or the same for another prediction.
void train_denoiser(Pipeline& model, const data::Batches& batches, std::uint64_t seed,
                    const nn::FitOptions& fit);

// The same with a weight for each timestep: L = w_t ‖target − network(x_t, t)‖², w_0 .. w_{T−1}.
void train_weighted(Pipeline& model, const data::Batches& batches,
                    const std::vector<double>& weights, std::uint64_t seed,
                    const nn::FitOptions& fit);

// The same as train_denoiser at t = T−1 alone, where x_t is noise: the network learns to say, of noise and a label,
// which picture it was. Noise tells nothing of the picture, so the best answer is the mean of all pictures of the
// label.
void train_at_last_time(Pipeline& model, const data::Batches& batches, std::uint64_t seed,
                        const nn::FitOptions& fit);

// Consistency training: x̂_0 shall be the same all along a path from a picture to noise,
//     L = d(f(x_t, t), sg f(x_r, r)),   r < t,  x_t = a_t x_0 + σ_t ε,  x_r = a_r x_0 + σ_r ε (the same ε),
// where f(x, t) is the network's x̂_0, sg stops the gradient, and f(x, 0) = x holds by itself for a network that predicts
// v. d is the pseudo-Huber distance √(‖·‖² + c²) − c. "Consistency models" (Song 2023), "Easy consistency tuning"
// (Geng 2024): from a trained denoiser (r = 0 is its own loss) r/t = 1 − 2^{−stage} approaches 1.
void train_consistency(Pipeline& model, const data::Batches& batches, std::uint64_t seed,
                       const nn::FitOptions& fit);
// u8 [labels, H, W, C] in `steps` evaluations of the network: x̂_0 of noise; then, again and again, x̂_0 of x̂_0 with
// less noise anew. Consistency models, algorithm 1.
Tensor sample_consistency(const Pipeline& model, const std::vector<std::int64_t>& labels,
                          std::int64_t steps, std::uint64_t seed);

// Progressive distillation (Salimans & Ho 2022), algorithm 2: one step of DDIM of the student shall go where two steps
// of the teacher go. From z_t the teacher steps to t' and t''; the x̃ with which one step from t leads to the same z'' is
//     x̃ = (z'' − σ''/σ_t z_t) / (a'' − σ''/σ_t a_t),
// and the student learns the v of that x̃. The student walks timesteps(scheduler, steps), the teacher 2 · steps of them.
void train_progressive(Pipeline& student, const Pipeline& teacher, std::int64_t steps,
                       const data::Batches& batches, std::uint64_t seed, const nn::FitOptions& fit);

// Shortcut models (Frans 2024), eq. 5: the network is told the length of its step and answers with the velocity s of the
// straight line that leads there, so that a step of 2d leads where two of d do. With x_u = (1−u) x_0 + u ε,
//     L = ¾ ‖s(x_u, u, 0) − (ε − x_0)‖² + ¼ ‖s(x_u, u, 2d) − ½ (s(x_u, u, d) + s(x_{u−d}, u−d, d))‖²,
// the second on a quarter of the batch, its target without gradient. The length is told as part of the label: the
// network has kShortcutSizes rows for each, of the lengths 1, 1/2, 1/4, .. and 0. It is one of flow matching
// (`default_scheduler`).
inline constexpr std::int64_t kShortcutSizes = 7;
void train_shortcut(Pipeline& model, const data::Batches& batches, std::uint64_t seed,
                    const nn::FitOptions& fit);
// u8 [labels, H, W, C] in `steps` equal steps, a power of two up to 32.
Tensor sample_shortcut(const Pipeline& model, const std::vector<std::int64_t>& labels,
                       std::int64_t steps, std::uint64_t seed);

// Noise and the pictures that a sampler made of it.
struct Pairs {
  Tensor eps, x0;  // f32 [N,H,W,C]
  std::vector<std::int64_t>
      labels;  // [N]; what they are called for, for networks without labels only their number counts
};
Pairs draw_pairs(const Pipeline& model, const std::vector<std::int64_t>& labels, std::int64_t steps,
                 std::uint64_t seed);

// Rectified flow on pairs (Liu 2022), eq. 1: the loss of train_denoiser, but each x_0 stands with the noise that it was
// made of instead of with any. Straight lines between the two then cross less, and the paths become straight.
// `last_time_only`: at t = T−1 alone, the distillation into one step (section 2.3 there).
struct ReflowOptions {
  std::int64_t batch = 32;
  bool last_time_only = false;
};
void train_reflow(Pipeline& model, const Pairs& pairs, const ReflowOptions& options,
                  std::uint64_t seed, const nn::FitOptions& fit);

// `to` gets the weights of `from`; throws Error unless they have as many.
void copy_weights(const Pipeline& from, Pipeline& to);

}  // namespace sfumato::diffusion
