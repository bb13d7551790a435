// Kernel distance of features (Bińkowski 2018, "Demystifying MMD GANs", section 3; there on Inception's features, KID).
#pragma once
#include "diffusion/eval/interval.h"
#include "diffusion/eval/products.h"

namespace sfumato::eval {

// The squared maximum mean discrepancy with k(x, y) = (xᵀy / D + 1)³, without bias:
//   Σ_{i≠j} k(x_i, x_j) / n(n−1) + Σ_{i≠j} k(y_i, y_j) / m(m−1) − 2 Σ_{i,j} k(x_i, y_j) / nm
// Its mean over all sets is 0 for equal distributions, and so it may be negative.
class Kid {
 public:
  explicit Kid(const Tensor& real);  // f32 [M, D], M at least 2
  // features f32 [N, D], N at least 2. The interval is the bootstrap's, over the rows of `features`.
  Estimate operator()(const Tensor& features, std::int64_t resamples = kResamples) const;

 private:
  Features real_;
  double within_;  // the second sum
};

}  // namespace sfumato::eval
