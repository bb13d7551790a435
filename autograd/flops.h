// Counts floating-point operations as they are recorded, as if every sum were computed directly: a
// multiplication and an addition per weight that an output sums over. Each operation states its own
// count where it is recorded (record in var.h); element-wise work is not counted (a few per cent).
#pragma once
#include "autograd/var.h"

namespace sfumato {

// Sums the counts of every operation that this thread records while it is alive. A training step
// does three times as many: the backward pass has two products where the forward pass has one.
class FlopCounter : public Observer {
 public:
  void see(const char*, std::initializer_list<Var>, const Tensor&, double flop) override {
    total += flop;
  }
  double total = 0;
};

}  // namespace sfumato
