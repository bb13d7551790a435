#include "autograd/fixed_weights.h"

#include <utility>

namespace sfumato {

thread_local FixedWeights* FixedWeights::active_ = nullptr;
FixedWeights::FixedWeights() : before_(std::exchange(active_, this)) {}
FixedWeights::~FixedWeights() { active_ = before_; }

}  // namespace sfumato
