#include "nn/optim.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "nn/muon.h"
#include "tensor/arithmetic.h"

namespace sfumato::nn {
namespace {

// Where AdamW::rates has what.
enum Rate { kDecay, kStep, kRoot, kAverage, kRate, kRates };

// a moves towards w by a share `rate` of the way.
template <class T>
constexpr void move_towards(T& a, T w, T rate) {
  a += rate * (w - a);
}

// What every update needs of the clipped gradient.
struct Clipping {
  const double* norm;  // of the gradient; null: no clipping
  double max_norm;
  constexpr bool skip() const { return norm && !std::isfinite(*norm); }
  constexpr double scale() const { return norm ? clip_scale(*norm, max_norm) : 1; }
};

// What every update writes of a parameter: its value, the average of it, and a copy in bf16.
template <class T, bool with_copy>
struct Written {
  T* w;
  T* average;  // null: none
  bf16* copy;
  constexpr void operator()(std::int64_t i, T value, T rate) const {
    w[i] = value;
    if (average) move_towards(average[i], value, rate);
    if constexpr (with_copy) copy[i] = bf16(static_cast<float>(value));
  }
};

// m = β1 m + (1-β1) g,  v = β2 v + (1-β2) g²,  m̂ = m/(1-β1^k),  v̂ = v/(1-β2^k),
// w = w - lr (m̂/(√v̂ + eps) + λ w)
template <class T, bool with_copy>
struct AdamWUpdate {
  T beta1, beta2, eps;
  const T* rates;
  Clipping clipping;
  const T* g;
  T *m, *v;
  Written<T, with_copy> written;

  struct Elements {
    AdamWUpdate u;
    bool skip;
    T decay, step, root, rate, scale;
    constexpr void operator()(std::int64_t i) const {
      if (skip) return;
      const T grad = scale * u.g[i];
      u.m[i] = u.beta1 * u.m[i] + (1 - u.beta1) * grad;
      u.v[i] = u.beta2 * u.v[i] + (1 - u.beta2) * grad * grad;
      u.written(i, decay * u.written.w[i] - step * u.m[i] / (std::sqrt(u.v[i]) * root + u.eps),
                rate);
    }
  };
  constexpr Elements operator()(std::int64_t) const {
    return {*this,
            clipping.skip(),
            rates[kDecay],
            rates[kStep],
            rates[kRoot],
            rates[kAverage],
            static_cast<T>(clipping.scale())};
  }
};

// m = β m + (1-β) g,  u = β m + (1-β) g
template <class T>
struct MuonMomentum {
  T beta;
  Clipping clipping;
  const T* g;
  T *m, *u;

  struct Elements {
    MuonMomentum n;
    bool skip;
    T scale;
    constexpr void operator()(std::int64_t i) const {
      if (skip) return;
      const T grad = scale * n.g[i];
      n.m[i] = n.beta * n.m[i] + (1 - n.beta) * grad;
      n.u[i] = n.beta * n.m[i] + (1 - n.beta) * grad;
    }
  };
  constexpr Elements operator()(std::int64_t) const {
    return {*this, clipping.skip(), static_cast<T>(clipping.scale())};
  }
};

// w = w - lr (size o + λ w)
template <class T, bool with_copy>
struct MuonUpdate {
  T size;
  const T* rates;
  Clipping clipping;
  const T* o;
  Written<T, with_copy> written;

  struct Elements {
    MuonUpdate u;
    bool skip;
    T decay, step, rate;
    constexpr void operator()(std::int64_t i) const {
      if (!skip) u.written(i, decay * u.written.w[i] - step * u.o[i], rate);
    }
  };
  constexpr Elements operator()(std::int64_t) const {
    return {*this, clipping.skip(), rates[kDecay], rates[kRate] * size, rates[kAverage]};
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

const Optimizer Optimizer::muon = {.name = "muon",
                                   .help = "Muon for matrices and filters, AdamW for the others",
                                   .orthogonal = true};

const Optimizer Optimizer::adamw = {.name = "adamw", .help = "AdamW for all (try half the rate)"};

AdamW::AdamW(Params& params, const AdamWOptions& options)
    : m(Tensor::zeros(params.flat_values().shape(), params.kind())),
      v(Tensor::zeros(params.flat_values().shape(), params.kind())),
      params_(params),
      options_(options) {
  for (const Params::Entry* e : params.laid_out()) {
    const std::int64_t end = e->begin + e->value.size();
    const bool matrix = options.muon && e->value.shape().rank() >= 2;
    if (matrix || parts_.empty() || parts_.back().rows > 0)
      parts_.push_back({e->begin, end, matrix ? e->value.dim(0) : 0});
    else
      parts_.back().end = end;
  }
}

Tensor AdamW::rates(double lr, Ema* ema) {
  ++steps;
  double rates[kRates];
  rates[kDecay] = 1 - lr * options_.weight_decay;
  rates[kStep] = lr / (1 - std::pow(options_.beta1, steps));
  rates[kRoot] = 1 / std::sqrt(1 - std::pow(options_.beta2, steps));
  rates[kAverage] = ema ? ema->next_rate() : 0;
  rates[kRate] = lr;
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
  Tensor values = params_.flat_values(), copy = params_.flat_copy();
  const Tensor grads = params_.flat_grads();
  const Device device = values.device();
  dispatch_float("adamw", values.dtype(), [&]<class T>() {
    const Clipping clipping = {clip.norm.data_or_null<double>(), clip.max_norm};
    for (const Part& part : parts_) {
      const std::int64_t n = part.end - part.begin;
      const T* g = grads.data<T>() + part.begin;
      const Written<T, with_copy> written = {
          .w = values.data<T>() + part.begin,
          .average = ema ? ema->average.data<T>() + part.begin : nullptr,
          .copy = with_copy ? copy.data<bf16>() + part.begin : nullptr};
      if (part.rows == 0) {
        for_each_row(device, 1, n,
                     AdamWUpdate<T, with_copy>{.beta1 = static_cast<T>(options_.beta1),
                                               .beta2 = static_cast<T>(options_.beta2),
                                               .eps = static_cast<T>(options_.eps),
                                               .rates = here.data<T>(),
                                               .clipping = clipping,
                                               .g = g,
                                               .m = m.data<T>() + part.begin,
                                               .v = v.data<T>() + part.begin,
                                               .written = written});
        continue;
      }
      const std::int64_t rest = n / part.rows;
      Tensor u({part.rows, rest}, values.kind());
      for_each_row(device, 1, n,
                   MuonMomentum<T>{.beta = static_cast<T>(options_.momentum),
                                   .clipping = clipping,
                                   .g = g,
                                   .m = m.data<T>() + part.begin,
                                   .u = u.data<T>()});
      const double larger = static_cast<double>(std::max(part.rows, rest));
      const Tensor o = orthogonalised(u);
      for_each_row(device, 1, n,
                   MuonUpdate<T, with_copy>{.size = static_cast<T>(0.2 * std::sqrt(larger)),
                                            .rates = here.data<T>(),
                                            .clipping = clipping,
                                            .o = o.data<T>(),
                                            .written = written});
    }
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
