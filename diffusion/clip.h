// Estimates x̂_0 outside the data's range.
#pragma once
#include "diffusion/scheduler_config.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// Whether clip() does anything.
bool clips(const SchedulerConfig& config);

// x0 [N, ...] in place. Static thresholding (config.clip_sample): each element is cut off at ± clip_sample_range. Dynamic
// thresholding (config.thresholding, which wins; Imagen, Saharia 2022, section 2.3): s is the
// dynamic_thresholding_ratio quantile of a picture's |x̂_0|, between 1 and sample_max_value; its elements are cut off
// at ± s and divided by s, so that a saturated picture comes back into [−1, 1] with its contrasts. The quantile lies
// between two elements as torch.quantile's does; on a GPU it is computed on the CPU, which waits for each step.
void clip(Tensor& x0, const SchedulerConfig& config);

// A copy of x0 with each element cut off at ± range.
Tensor cut_off(const Tensor& x0, double range);

}  // namespace sfumato::diffusion
