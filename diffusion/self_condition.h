// Self-conditioning (nn/self_conditioned.h) in training and sampling: Analog Bits (Chen, Zhang & Hinton 2022), algorithms 1
// and 2.
#pragma once
#include "diffusion/pipeline.h"
#include "diffusion/schedule.h"
#include "diffusion/scheduler_config.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// x_t [..., C] and an estimate of x_0 of the same shape, as the network takes them: [..., 2C].
Tensor beside(const Tensor& xt, const Tensor& x0);

// What the network is told of its own estimate: cut off at ± clip_sample_range, as ε says little of x_0 in much noise, and
// dividing by √ᾱ_t makes large numbers of it. In training and in sampling alike.
Tensor told_estimate(const Tensor& x0, const SchedulerConfig& config);

// What the model's network sees in training, of x_t [N,H,W,C], t i64 [N] and labels (or none): x_t itself, or, if it takes an
// estimate, [N,H,W,2C]. Of pictures 0, 2, 4, ... the estimate is what the network, without gradient and without dropout,
// says of x_0 when it sees zeros; of the others it is zeros. (The paper tosses a coin. Half of each batch costs the same,
// a forward pass of half a batch; batches are in random order, and it works for times that are stratified over the batch.)
Tensor seen_in_training(const Pipeline& model, const Schedule& schedule, const Tensor& xt,
                        const Tensor& t, const Tensor& labels);

}  // namespace sfumato::diffusion
