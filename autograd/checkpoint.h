// Memory for time: a piece of the network whose inside is not kept, but computed again when the
// backward pass comes to it (Chen 2016, "Training deep nets with sublinear memory cost").
#pragma once
#include <span>

#include "autograd/var.h"

namespace sfumato {

// f(inputs), where f maps std::span<const Var> to a Var and may use parameters besides. Values and
// gradients are the same bits as f's own. At least one input must require a gradient, or f's
// parameters get none; f must compute the same when called again.
template <class F>
Var checkpoint(F f, std::initializer_list<Var> inputs) {
  if (NoGrad::active()) return f(std::span<const Var>(inputs.begin(), inputs.size()));
  std::array<Tensor, kMaxInputs> values;
  for (std::size_t i = 0; i < inputs.size(); ++i) values[i] = inputs.begin()[i].value();
  Tensor y;
  {
    NoGrad no_grad;
    y = f(std::span<const Var>(inputs.begin(), inputs.size())).value();
  }
  return record("checkpoint", y, inputs,
                [f, values, count = inputs.size()](const Tensor& dy, const Needs& needs) {
                  std::array<Var, kMaxInputs> again;
                  for (std::size_t i = 0; i < count; ++i) {
                    const bool needed = needs[static_cast<int>(i)];
                    again[i] = needed ? Var(values[i], true) : Var(values[i]);
                    // Sums go on from where they stand, or their rounding would differ.
                    if (needed) again[i].node()->grad = needs.take(static_cast<int>(i));
                  }
                  f(std::span<const Var>(again.data(), count)).backward(dy);
                  Gradients g(static_cast<int>(count));
                  for (std::size_t i = 0; i < count; ++i) g[static_cast<int>(i)] = again[i].grad();
                  return g;
                });
}

}  // namespace sfumato
