// What an operation computes from its weights before anything else (a convolution's filters),
// kept from one call to the next while the weights do not change. For samplers, which evaluate a
// network many times.
#pragma once
#include <algorithm>
#include <vector>

#include "autograd/var.h"

namespace sfumato {

// While one is alive, parameters must not be changed. It belongs to the thread that made it, and
// other threads do not see it. They nest: the innermost one keeps.
class FixedWeights {
 public:
  FixedWeights();
  ~FixedWeights();
  FixedWeights(const FixedWeights&) = delete;
  FixedWeights& operator=(const FixedWeights&) = delete;

  // Returns the kept make() for (weight, use). Without a live FixedWeights, or for a weight that is
  // not a parameter (a computed one may be another at each call), calls make().
  template <class Make>
  static Tensor once(const Var& weight, int use, Make make) {
    if (!active_ || !weight.requires_grad()) return make();
    auto& kept = active_->kept_;
    const auto same = [&](const Kept& k) {
      return k.weight.address() == weight.value().address() && k.use == use;
    };
    auto found = std::find_if(kept.begin(), kept.end(), same);
    if (found == kept.end()) found = kept.insert(found, {weight.value(), use, make()});
    return found->made;
  }

 private:
  struct Kept {
    Tensor weight;
    int use;
    Tensor made;
  };
  static thread_local FixedWeights* active_;
  FixedWeights* before_;
  std::vector<Kept> kept_;
};

}  // namespace sfumato
