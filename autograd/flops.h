// Counts floating-point operations as they are recorded, as if every sum were computed directly: a
// multiplication and an addition per weight that an output sums over. Element-wise work is not
// counted (a few per cent).
#pragma once
#include <string_view>

#include "autograd/var.h"

namespace sfumato {

// Of one recorded operation, forward.
double flops(std::string_view op, std::initializer_list<Var> inputs, const Tensor& y);

// Sums those of every operation recorded while it is alive. A training step does three times as
// many: the backward pass has two products where the forward pass has one.
class FlopCounter : public Observer {
 public:
  void see(const char* op, std::initializer_list<Var> inputs, const Tensor& y) override {
    total += flops(op, inputs, y);
  }
  double total = 0;
};

}  // namespace sfumato
