#include "diffusion/loss_history.h"

#include <cmath>

#include "tensor/for_each.h"

namespace sfumato::diffusion {
namespace {

constexpr std::int64_t kLosses = LossHistory::kLosses;

// The share of draws that stays uniform, in the paper's code (LossSecondMomentResampler): no t is forgotten, and no loss
// divided by next to nothing.
constexpr double kUniformShare = 0.001;

// √E[L_t²] of one t.
template <class T>
struct RootMeanSquare {
  const float* losses;
  T* root;
  constexpr void operator()(std::int64_t t) const {
    T sum = 0;
    for (std::int64_t i = t * kLosses; i < (t + 1) * kLosses; ++i)
      sum += static_cast<T>(losses[i]) * static_cast<T>(losses[i]);
    root[t] = std::sqrt(sum / kLosses);
  }
};

// p_t in the place of the roots, and the sums p_0 + .. + p_t; once for all t.
template <class T>
struct Shares {
  const std::int64_t* seen;
  std::int64_t steps;
  T *p, *cumulative;
  constexpr void operator()(std::int64_t) const {
    T sum = 0, below = 0;
    bool all_seen = true;
    for (std::int64_t t = 0; t < steps; ++t) {
      sum += p[t];
      all_seen = all_seen && seen[t] >= kLosses;
    }
    const T uniform = T(1) / static_cast<T>(steps);
    for (std::int64_t t = 0; t < steps; ++t) {
      p[t] = all_seen && sum > 0 ? (1 - kUniformShare) * p[t] / sum + kUniformShare * uniform
                                 : uniform;
      below += p[t];
      cumulative[t] = below;
    }
  }
};

struct OneOverShare {
  const std::int64_t* t;
  const double* p;
  std::int64_t steps;
  float* importance;
  constexpr void operator()(std::int64_t i) const {
    importance[i] = static_cast<float>(1 / (p[t[i]] * static_cast<double>(steps)));
  }
};

// All n losses, one after the other.
struct KeepLosses {
  const std::int64_t* t;
  const float* loss;
  std::int64_t n;
  float* losses;
  std::int64_t* seen;
  constexpr void operator()(std::int64_t) const {
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t number = seen[t[i]]++;
      losses[t[i] * kLosses + number % kLosses] = loss[i];
    }
  }
};

struct Probabilities {
  Tensor p, cumulative;  // f64 [T]
};
Probabilities probabilities(const LossHistory& h) {
  const std::int64_t steps = h.seen.dim(0);
  const Kind kind(DType::f64, h.seen.device());
  Probabilities result{Tensor({steps}, kind), Tensor({steps}, kind)};
  double* p = result.p.data<double>();
  for_each(kind.device, steps, RootMeanSquare<double>{h.losses.data<float>(), p});
  for_each(kind.device, 1,
           Shares<double>{h.seen.data<std::int64_t>(), steps, p, result.cumulative.data<double>()});
  return result;
}

}  // namespace

LossHistory::LossHistory(std::int64_t steps, Device device)
    : losses(Tensor::zeros({steps, kLosses}, Kind{DType::f32, device})),
      seen(Tensor::zeros({steps}, Kind{DType::i64, device})) {}

Tensor LossHistory::cumulative() const { return probabilities(*this).cumulative; }

Tensor LossHistory::importance(const Tensor& t) const {
  const Probabilities now = probabilities(*this);
  Tensor result(t.shape(), Kind{DType::f32, seen.device()});
  for_each(seen.device(), t.size(),
           OneOverShare{t.data<std::int64_t>(), now.p.data<double>(), seen.dim(0),
                        result.data<float>()});
  return result;
}

void LossHistory::add(const Tensor& t, const Tensor& losses_of_t) {
  for_each(seen.device(), 1,
           KeepLosses{t.data<std::int64_t>(), losses_of_t.data<float>(), t.size(),
                      losses.data<float>(), seen.data<std::int64_t>()});
}

}  // namespace sfumato::diffusion
