#include "nn/optim.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/arithmetic.h"

namespace sfumato::nn {

namespace {

// a moves towards w by a share `rate` of the way.
template <class T>
void average_range(T* a, const T* w, T rate, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) a[i] += rate * (w[i] - a[i]);
}

}  // namespace

AdamW::AdamW(Params& params, const AdamWOptions& options)
    : m(Tensor::zeros(params.flat_values().shape(), params.dtype())),
      v(Tensor::zeros(params.flat_values().shape(), params.dtype())),
      params_(params),
      options_(options) {}

// m = β1 m + (1-β1) g,  v = β2 v + (1-β2) g²,  m̂ = m/(1-β1^k),  v̂ = v/(1-β2^k),
// w = w - lr (m̂/(√v̂ + eps) + λ w)
void AdamW::step(double lr, double grad_scale, Ema* ema) {
  ++steps;
  const double ema_rate = ema ? ema->next_rate() : 0;
  const double correction1 = 1 - std::pow(options_.beta1, steps);
  const double correction2 = 1 - std::pow(options_.beta2, steps);
  dispatch_float("adamw", params_.dtype(), [&]<class T>() {
    Tensor values = params_.flat_values();
    T* w = values.data<T>();
    const T* g = params_.flat_grads().data<T>();
    T *pm = m.data<T>(), *pv = v.data<T>();
    const T b1 = static_cast<T>(options_.beta1), b2 = static_cast<T>(options_.beta2);
    const T eps = static_cast<T>(options_.eps),
            decay = static_cast<T>(1 - lr * options_.weight_decay);
    const T rate = static_cast<T>(lr / correction1),
            root = static_cast<T>(1 / std::sqrt(correction2));
    const T gs = static_cast<T>(grad_scale), er = static_cast<T>(ema_rate);
    T* a = ema ? ema->average.data<T>() : nullptr;
    parallel_ranges(m.size(), kElementGrain, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T grad = gs * g[i];
        pm[i] = b1 * pm[i] + (1 - b1) * grad;
        pv[i] = b2 * pv[i] + (1 - b2) * grad * grad;
        w[i] = decay * w[i] - rate * pm[i] / (std::sqrt(pv[i]) * root + eps);
      }
      if (a) average_range(a, w, er, begin, end);
    });
  });
}

double gradient_norm(Params& params) {
  return std::sqrt(sum_of_squares(params.flat_grads()).item());
}

double clip_scale(double norm, double max_norm) { return std::min(1.0, max_norm / (norm + 1e-6)); }

Ema::Ema(Params& params, double decay)
    : average(params.flat_values().clone()), params_(params), decay_(decay) {}

double Ema::next_rate() {
  const auto k = static_cast<double>(updates++);
  return 1 - std::min(decay_, (1 + k) / (10 + k));
}

void Ema::update() {
  const double next = next_rate();
  dispatch_float("ema", params_.dtype(), [&]<class T>() {
    T* a = average.data<T>();
    const T* w = params_.flat_values().data<T>();
    const T rate = static_cast<T>(next);
    parallel_ranges(average.size(), kElementGrain, [=](std::int64_t begin, std::int64_t end) {
      average_range(a, w, rate, begin, end);
    });
  });
}

SwapValues::SwapValues(Params& params, const Tensor& values)
    : live_(params.flat_values()), saved_(live_.clone()) {
  live_.copy_from(values);
}

SwapValues::~SwapValues() { live_.copy_from(saved_); }

double warmup_cosine(std::int64_t step, std::int64_t warmup, double progress, double floor) {
  const double ramp =
      warmup > 0 ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warmup)) : 1;
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0)));
  return ramp * (floor + (1 - floor) * cosine);
}

}  // namespace sfumato::nn
