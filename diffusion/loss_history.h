// Timesteps drawn by their loss: Improved DDPM (Nichol & Dhariwal 2021), section 3.3. The mean over t of the losses L_t
// is estimated from single draws with the least variance by
//     E_{t ~ p}[L_t / (p_t T)],    p_t ∝ √E[L_t²],                              (eq. 18; there a sum: no T)
// where E[L_t²] is the mean over the last 10 losses of t. Until every t has had 10, times are uniform: about 23 T draws
// at T = 1000.
#pragma once
#include <cstdint>

#include "tensor/tensor.h"

namespace sfumato::diffusion {

// The last losses of each t. Its tensors are on one device, where all happens in place, so that a recorded step can use
// them (recorded.h); copies of a LossHistory share them. Const calls are safe from any thread.
struct LossHistory {
  static constexpr std::int64_t kLosses = 10;  // of each t

  LossHistory(std::int64_t steps, Device device);

  // As TimeDistribution has it: the share of draws at 0..t, f64 [T].
  Tensor cumulative() const;
  // 1 / (p_t T) of each, f32 [n], for t i64 [n]: how much its loss counts.
  Tensor importance(const Tensor& t) const;
  // To be called after a step, with the t [n] that were drawn and their losses, f32 [n]: in order, as one t may be there
  // several times.
  void add(const Tensor& t, const Tensor& losses_of_t);

  Tensor losses;  // f32 [T, 10]: loss number s of t in column s mod 10
  Tensor seen;    // i64 [T]: how many each t has had
};

}  // namespace sfumato::diffusion
