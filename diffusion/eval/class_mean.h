// The mean picture of each class: the best answer of a network that is asked, of noise and a label, which picture it
// was, E[x_0 | label].
#pragma once
#include "diffusion/data/dataset.h"
#include "tensor/tensor.h"

namespace sfumato::eval {

// f32 [classes,H,W,C] in [−1, 1], added up in double; zeros for a class without pictures. Throws Error for data without
// labels.
Tensor class_means(const data::ImageDataset& dataset);

}  // namespace sfumato::eval
