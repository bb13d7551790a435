#pragma once
#include <algorithm>
#include <vector>

#include "autograd/var.h"

namespace sfumato {

// While one is alive (on this thread), parameters are not changed: what an operation first makes of
// its weights is kept from one call to the next. For samplers, which evaluate a network many times.
class FixedWeights {
 public:
  FixedWeights();
  ~FixedWeights();
  FixedWeights(const FixedWeights&) = delete;
  FixedWeights& operator=(const FixedWeights&) = delete;

  // make(), or what it returned when it was last asked for with this weight and use of it. Always
  // make() if no FixedWeights is alive, or if `weight` is not a parameter and so may be another at
  // each call.
  template <class Make>
  static Tensor once(const Var& weight, int use, Make make) {
    if (!active_ || !weight.requires_grad()) return make();
    auto& kept = active_->kept_;
    const auto same = [&](const Kept& k) {
      return k.weight.raw() == weight.value().raw() && k.use == use;
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
