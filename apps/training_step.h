// What a step of train() passes on: pictures to the network, one batch after another, and numbers to the update.
#pragma once
#include <cstdint>
#include <vector>

#include "apps/train_options.h"
#include "diffusion/loss.h"
#include "diffusion/times.h"
#include "nn/network.h"
#include "nn/params.h"
#include "tensor/arithmetic.h"
#include "tensor/tensor.h"

namespace sfumato::apps {

// Batch i of step k has dropout masks of its own.
inline nn::Mode mode_of(const TrainOptions& o, const Tensor& k, std::int64_t i) {
  return {.training = true,
          .seed = o.seed + static_cast<std::uint64_t>(i),
          .step = k,
          .recompute = o.recompute};
}

// What a step shows the network, and what the network should say: of all its pictures, or of some.
struct Shown {
  Tensor x0, label, t, xt, target;
  diffusion::ByImage each;

  Shown rows(std::int64_t begin, std::int64_t end) const {
    const auto part = [&](const Tensor& of) { return of.defined() ? of.slice(begin, end) : of; };
    return {part(x0), part(label),  part(t),
            part(xt), part(target), {part(each.importance), part(each.losses)}};
  }
};

// How the losses of a step's pictures count, with room for them; undefined where times are not drawn by loss.
inline diffusion::ByImage loss_of_each(const diffusion::Times& times, const Tensor& t) {
  const Tensor importance = times.importance(t);
  return {importance,
          importance.defined() ? Tensor(importance.shape(), importance.kind()) : Tensor()};
}

// What a step has computed: the loss, the gradient's norm; and times and their losses, where times are drawn by them.
inline std::vector<Tensor> outcome(const Tensor& loss, const Tensor& norm, const Shown& step) {
  return step.each.losses.defined() ? std::vector{loss, norm, step.t, step.each.losses}
                                    : std::vector{loss, norm};
}

// What the update is given of it: rates in the place of the loss.
inline std::vector<Tensor> with_rates(const Tensor& rates, std::vector<Tensor> outcome) {
  outcome[0] = rates;
  return outcome;
}

// The loss of a step of several batches (--accumulate), of which one's activations at a time are in memory: two batches of 32
// pictures are a step of 64. `gradient_of` is given batch i, i, and the batch's share in the mean; it adds to the parameters'
// gradients and returns its part of the loss.
template <class F>
Tensor batch_by_batch(const TrainOptions& o, nn::Params& params, const Shown& step,
                      const F& gradient_of) {
  params.zero_grad();
  if (o.accumulate == 1) return gradient_of(step, 0, 1);
  Tensor sum;
  for (std::int64_t i = 0; i < o.accumulate; ++i) {
    const Tensor part = gradient_of(step.rows(i * o.batch, (i + 1) * o.batch), i,
                                    1 / static_cast<double>(o.accumulate));
    sum = sum.defined() ? add(sum, part) : part;
  }
  return sum;
}

}  // namespace sfumato::apps
