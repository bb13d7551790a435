#include "nn/fit.h"

#include <fmt/format.h>

#include <cmath>

#include "tensor/error.h"

namespace sfumato::nn {

void fit(Params& params, const FitOptions& o, const std::function<Var(std::int64_t k)>& loss) {
  AdamW adam(params, o.adam);
  Ema average(params, o.ema);
  for (std::int64_t k = 0; k < o.steps; ++k) {
    if (o.should_continue && !o.should_continue()) break;
    params.zero_grad();
    const Var l = loss(k);
    const double value = l.value().item();
    if (!std::isfinite(value))
      throw Error("fit", fmt::format("the loss of step {} is {}", k, value));
    l.backward();
    const double done = static_cast<double>(k) / static_cast<double>(o.steps);
    const double lr = o.rate ? o.rate(k) : o.lr * warmup_cosine(k, o.warmup, done, o.lr_floor);
    adam.step(lr, {.norm = gradient_norm(params), .max_norm = o.clip},
              o.ema > 0 ? &average : nullptr);
    if (o.on_step) o.on_step(k, value);
  }
  if (o.ema > 0) Tensor(params.flat_values()).copy_from(average.average);
  params.refresh();
}

}  // namespace sfumato::nn
