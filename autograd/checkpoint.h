// Memory for time: a piece of the network whose inside is not kept, but computed again when the
// backward pass comes to it (Chen 2016, "Training deep nets with sublinear memory cost").
#pragma once
#include <span>
#include <vector>

#include "autograd/var.h"

namespace sfumato {

// f(inputs), where f maps std::span<const Var> to a Var and may use parameters besides. Values and
// gradients are the same bits as f's own. At least one input must require a gradient, or f's
// parameters get none; f must compute the same when called again.
template <class F>
Var checkpoint(F f, std::initializer_list<Var> inputs) {
  if (NoGrad::active()) return f(std::span<const Var>(inputs.begin(), inputs.size()));
  std::vector<Tensor, memory::Allocator<Tensor>> values;
  for (const Var& input : inputs) values.push_back(input.value());
  Tensor y;
  {
    NoGrad no_grad;
    y = f(std::span<const Var>(inputs.begin(), inputs.size())).value();
  }
  // (f's own operations were counted as they ran.)
  return record("checkpoint", y, inputs, kNoProducts,
                [f, values](const Tensor& dy, const Needs& needs) {
                  const int count = static_cast<int>(values.size());
                  std::vector<Var, memory::Allocator<Var>> again;
                  for (int i = 0; i < count; ++i) {
                    again.push_back(needs[i] ? Var(values[i], true) : Var(values[i]));
                    // Sums go on from where they stand, or their rounding would differ.
                    if (needs[i]) again[i].node()->grad = needs.take(i, values[i].dtype());
                  }
                  f(std::span<const Var>(again)).backward(dy);
                  Gradients g(count);
                  for (int i = 0; i < count; ++i) g[i] = again[i].grad();
                  return g;
                });
}

}  // namespace sfumato
