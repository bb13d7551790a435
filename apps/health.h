// Whether the loss explodes: it grows until it is no longer a number. A checkpoint of such weights must not replace a
// good one.
#pragma once
#include <cstdint>
#include <limits>
#include <string>

#include "nn/params.h"

namespace sfumato::apps {

class Health {
 public:
  // Looks at a step of this process: its loss, and the smoothed loss of the steps before it.
  void look(double loss, double smoothed);
  // The last loss is ten times that of an untrained network (about 1, since targets have a mean
  // square of 1), or ten times the first loss of this process where that is more; or the smoothed
  // loss is ten times its lowest (0.01 counts as the lowest possible).
  bool exploding() const { return !reason_.empty(); }
  // In words, for a message; empty while all is well.
  const std::string& reason() const { return reason_; }

 private:
  double first_ = 0, lowest_ = std::numeric_limits<double>::infinity();
  std::int64_t steps_ = 0;
  std::string reason_;
};

// The first parameter that holds a number which is not finite, and the number: `tensor
// "conv_in.bias" holds nan`. Empty when there is none.
std::string non_finite_weight(const nn::Params& params);

}  // namespace sfumato::apps
