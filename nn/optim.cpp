#include "nn/optim.h"

#include <cmath>
#include <numbers>

#include "tensor/arithmetic.h"

namespace sfumato::nn {
namespace {

// Where AdamW::rates has what.
enum Rate { kDecay, kStep, kRoot, kAverage, kRates };

// a moves towards w by a share `rate` of the way.
template <class T>
constexpr void move_towards(T& a, T w, T rate) {
  a += rate * (w - a);
}

// m = β1 m + (1-β1) g,  v = β2 v + (1-β2) g²,  m̂ = m/(1-β1^k),  v̂ = v/(1-β2^k),
// w = w - lr (m̂/(√v̂ + eps) + λ w), and the average of w; with_copy: w in bf16 besides
template <class T, bool with_copy>
struct AdamWUpdate {
  T beta1, beta2, eps;
  const T* rates;
  const double* norm;  // of the gradient; null: no clipping
  double max_norm;
  const T* g;
  T *w, *m, *v;
  T* average;  // null: none
  bf16* copy;

  struct Elements {
    AdamWUpdate u;
    bool skip;
    T decay, step, root, rate, scale;
    constexpr void operator()(std::int64_t i) const {
      if (skip) return;
      const T grad = scale * u.g[i];
      u.m[i] = u.beta1 * u.m[i] + (1 - u.beta1) * grad;
      u.v[i] = u.beta2 * u.v[i] + (1 - u.beta2) * grad * grad;
      u.w[i] = decay * u.w[i] - step * u.m[i] / (std::sqrt(u.v[i]) * root + u.eps);
      if (u.average) move_towards(u.average[i], u.w[i], rate);
      if constexpr (with_copy) u.copy[i] = bf16(static_cast<float>(u.w[i]));
    }
  };
  constexpr Elements operator()(std::int64_t) const {
    const double scale = norm ? clip_scale(*norm, max_norm) : 1;
    return {
        *this,           norm && !std::isfinite(*norm), rates[kDecay], rates[kStep], rates[kRoot],
        rates[kAverage], static_cast<T>(scale)};
  }
};

template <class T>
struct AverageUpdate {
  T rate;
  const T* w;
  T* average;
  constexpr void operator()(std::int64_t i) const { move_towards(average[i], w[i], rate); }
};

struct SquareRoot {
  template <class T>
  constexpr T operator()(T x) const {
    return std::sqrt(x);
  }
};

}  // namespace

AdamW::AdamW(Params& params, const AdamWOptions& options)
    : m(Tensor::zeros(params.flat_values().shape(), params.kind())),
      v(Tensor::zeros(params.flat_values().shape(), params.kind())),
      params_(params),
      options_(options) {}

Tensor AdamW::rates(double lr, Ema* ema) {
  ++steps;
  double rates[kRates];
  rates[kDecay] = 1 - lr * options_.weight_decay;
  rates[kStep] = lr / (1 - std::pow(options_.beta1, steps));
  rates[kRoot] = 1 / std::sqrt(1 - std::pow(options_.beta2, steps));
  rates[kAverage] = ema ? ema->next_rate() : 0;
  return Tensor::from<double>({kRates}, rates).to(params_.kind().dtype);
}

void AdamW::step(const Tensor& rates, const Clip& clip, Ema* ema) {
  expect_shape("adamw", "rates", rates, {kRates});
  if (params_.flat_copy().defined()) return step_with<true>(rates, clip, ema);
  step_with<false>(rates, clip, ema);
}

template <bool with_copy>
void AdamW::step_with(const Tensor& rates, const Clip& clip, Ema* ema) {
  const Tensor here = rates.to(params_.kind().device);
  dispatch_float("adamw", params_.kind().dtype, [&]<class T>() {
    Tensor values = params_.flat_values(), copy = params_.flat_copy();
    for_each_row(values.device(), 1, values.size(),
                 AdamWUpdate<T, with_copy>{.beta1 = static_cast<T>(options_.beta1),
                                           .beta2 = static_cast<T>(options_.beta2),
                                           .eps = static_cast<T>(options_.eps),
                                           .rates = here.data<T>(),
                                           .norm = clip.norm.data_or_null<double>(),
                                           .max_norm = clip.max_norm,
                                           .g = params_.flat_grads().data<T>(),
                                           .w = values.data<T>(),
                                           .m = m.data<T>(),
                                           .v = v.data<T>(),
                                           .average = ema ? ema->average.data<T>() : nullptr,
                                           .copy = with_copy ? copy.data<bf16>() : nullptr});
  });
}

Tensor gradient_norm(Params& params) {
  return map<double>(SquareRoot{}, sum_of_squares(params.flat_grads()));
}

Ema::Ema(Params& params, double decay)
    : average(params.flat_values().clone()), params_(params), decay_(decay) {}

double Ema::next_rate() {
  const auto k = static_cast<double>(updates++);
  return 1 - std::min(decay_, (1 + k) / (10 + k));
}

void Ema::update() {
  const double rate = next_rate();
  dispatch_float("ema", average.dtype(), [&]<class T>() {
    for_each(
        average.device(), average.size(),
        AverageUpdate<T>{static_cast<T>(rate), params_.flat_values().data<T>(), average.data<T>()});
  });
}

SwapValues::SwapValues(Params& params, const Tensor& values)
    : params_(params), live_(params.flat_values()), saved_(live_.clone()) {
  live_.copy_from(values);
  params_.refresh();
}

SwapValues::~SwapValues() {
  live_.copy_from(saved_);
  params_.refresh();
}

double warmup_cosine(std::int64_t step, std::int64_t warmup, double progress, double floor) {
  const double ramp =
      warmup > 0 ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warmup)) : 1;
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0)));
  return ramp * (floor + (1 - floor) * cosine);
}

}  // namespace sfumato::nn
