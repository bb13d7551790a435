#include "diffusion/self_condition.h"

#include "autograd/ops.h"
#include "autograd/var.h"
#include "diffusion/clip.h"
#include "diffusion/objective.h"
#include "diffusion/reverse_variance.h"
#include "tensor/for_each.h"

namespace sfumato::diffusion {
namespace {

// Rows 0, 2, 4, ... of `width` elements each.
template <class T>
struct EveryOther {
  const T* from;
  std::int64_t width;
  T* to;
  constexpr void operator()(std::int64_t i) const {
    to[i] = from[2 * (i / width) * width + i % width];
  }
};

// Back to rows 0, 2, 4, ..., with zeros between them.
template <class T>
struct WithZeros {
  const T* from;
  std::int64_t width;
  T* to;
  constexpr void operator()(std::int64_t i) const {
    const std::int64_t row = i / width;
    to[i] = row % 2 == 0 ? from[row / 2 * width + i % width] : T(0);
  }
};

template <class T>
Tensor every_other(const Tensor& x) {
  const std::int64_t n = x.dim(0);
  Tensor half(x.shape().with(0, (n + 1) / 2), x.kind());
  for_each(x.device(), half.size(), EveryOther<T>{x.data<T>(), x.size() / n, half.data<T>()});
  return half;
}

}  // namespace

Tensor beside(const Tensor& xt, const Tensor& x0) { return concat(Var(xt), Var(x0)).value(); }

Tensor told_estimate(const Tensor& x0, const SchedulerConfig& config) {
  return cut_off(x0, config.clip_sample_range);
}

Tensor seen_in_training(const Pipeline& model, const Schedule& schedule, const Tensor& xt,
                        const Tensor& t, const Tensor& labels) {
  const nn::Network& network = *model.network;
  const SchedulerConfig& config = model.scheduler;
  if (!network.takes_estimate) return xt;
  const NoGrad no_grad;
  const Tensor half = every_other<float>(xt), half_t = every_other<std::int64_t>(t);
  const Var output =
      network(half, schedule.network_time(half_t),
              labels.defined() ? every_other<std::int64_t>(labels) : labels, nn::Mode{});
  const Tensor answer = answer_in(output, xt.dim(-1)).value();
  const Tensor x0 =
      told_estimate(to_x0(config.prediction_type, schedule, answer, half, half_t), config);
  Tensor all(xt.shape(), xt.kind());
  for_each(xt.device(), all.size(),
           WithZeros<float>{x0.data<float>(), xt.size() / xt.dim(0), all.data<float>()});
  return beside(xt, all);
}

}  // namespace sfumato::diffusion
