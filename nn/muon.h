// Muon's matrices (Jordan 2024, "Muon: an optimizer for hidden layers in neural networks").
#pragma once
#include "tensor/tensor.h"

namespace sfumato::nn {

// u [rows, cols], f32 or f64, with the singular value decomposition U S Vᵀ -> about U Vᵀ: all singular values become
// 0.7 to 1.2, but those below some hundredths of the norm ‖u‖, which come less far. By five steps of a quintic
// Newton-Schulz iteration, on the matrix divided by ‖u‖ (Jordan 2024, section "Newton-Schulz"):
//     A = X Xᵀ,    X = a X + (b A + c A²) X,    (a, b, c) = (3.4445, −4.7750, 2.0315)
// A matrix at least twice as long as wide is multiplied after the third and the fifth step alone.
Tensor orthogonalised(const Tensor& u);

}  // namespace sfumato::nn
