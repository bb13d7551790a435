#include "apps/health.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tensor/io/json.h"

namespace sfumato::apps {

void Health::look(double loss, double smoothed) {
  constexpr double kFactor = 10;
  constexpr double kSmall = 0.01;         // a loss below this may well grow tenfold
  constexpr std::int64_t kSettled = 100;  // steps until the smoothed loss says something
  if (steps_++ == 0) first_ = loss;
  reason_.clear();
  if (const double bound = kFactor * std::max(1.0, first_); !(loss <= bound))
    reason_ = fmt::format("the loss is {:.4g}", loss);
  if (steps_ < kSettled) return;
  if (smoothed > kFactor * std::max(kSmall, lowest_))
    reason_ = fmt::format("the smoothed loss is {:.4g} and was {:.4g}", smoothed, lowest_);
  lowest_ = std::min(lowest_, smoothed);
}

std::string non_finite_weight(const nn::Params& params) {
  for (const nn::Params::Entry& p : params.entries()) {
    const Tensor value = p.value.to(Device::cpu);
    for (const float v : value.values<float>())
      if (!std::isfinite(v)) return fmt::format("tensor {} holds {}", io::in_quotes(p.name), v);
  }
  return "";
}

}  // namespace sfumato::apps
