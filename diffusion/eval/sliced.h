// Sliced Wasserstein distance of features (Rabin 2011, "Wasserstein barycenter and its application to texture mixing"; Berthet
// 2026 uses it on Inception's features in the place of the Fréchet distance, as "Monge Inception Distance", MIND).
#pragma once
#include <vector>

#include "diffusion/eval/interval.h"
#include "tensor/tensor.h"

namespace sfumato::eval {

// The mean over random directions u, ‖u‖ = 1, of W₂²(uᵀX, uᵀY). On a line the best transport is in the order of size:
//   W₂² = ∫₀¹ (F_X⁻¹(p) − F_Y⁻¹(p))² dp
class SlicedWasserstein {
 public:
  static constexpr std::int64_t kDirections = 128;

  explicit SlicedWasserstein(const Tensor& real);  // f32 [M, D]
  // features f32 [N, D]. The interval is the bootstrap's, over the rows of `features`.
  Estimate operator()(const Tensor& features, std::int64_t resamples = kResamples) const;

 private:
  std::int64_t width_;
  Tensor directions_;                      // f32 [kDirections, D]
  std::vector<std::vector<double>> real_;  // uᵀY, ascending, one for each direction
};

}  // namespace sfumato::eval
