#include "nn/likelihood.h"

#include <cmath>

#include "tensor/for_each.h"

namespace sfumato::nn {
namespace {

constexpr double kHalfBin = 1.0 / 255;

template <class T>
constexpr T softplus(T x) {  // log(1 + eˣ)
  return (x > 0 ? x : T(0)) + std::log1p(std::exp(x > 0 ? -x : x));
}
template <class T>
constexpr T logistic(T x) {
  return 1 / (1 + std::exp(-x));
}

// What both passes need of one pixel. Its bin is open below for v = 0, and above for v = 255.
template <class T>
struct Bin {
  T a, b, inverse;  // 1/s
  bool has_a, has_b;
  constexpr Bin(T x, T mean, T log_scale)
      : inverse(std::exp(-log_scale)), has_a(x > T(-1 + kHalfBin)), has_b(x < T(1 - kHalfBin)) {
    a = (x - T(kHalfBin) - mean) * inverse;
    b = (x + T(kHalfBin) - mean) * inverse;
  }
  constexpr T width() const { return T(2 * kHalfBin) * inverse; }  // b − a
};

// As σ(b) − σ(a) = σ(b) σ(−a) (1 − e^{a−b}), no difference of nearly equal numbers is taken:
//     −log P = log(1 + e^{−b}) + log(1 + e^{a}) − log(1 − e^{a−b}).
template <class T>
struct Nats {
  const T *x, *mean, *log_scale;
  T* y;
  constexpr void operator()(std::int64_t i) const {
    const Bin<T> bin(x[i], mean[i], log_scale[i]);
    y[i] = (bin.has_b ? softplus(-bin.b) : T(0)) + (bin.has_a ? softplus(bin.a) : T(0)) -
           (bin.has_a && bin.has_b ? std::log(-std::expm1(-bin.width())) : T(0));
  }
};

// da/dμ = db/dμ = −1/s;  da/dlog s = −a, db/dlog s = −b, d(b−a)/dlog s = −(b−a).
template <class T>
struct NatsGradient {
  const T *x, *mean, *log_scale, *dy;
  T *d_mean, *d_log_scale;
  constexpr void operator()(std::int64_t i) const {
    const Bin<T> bin(x[i], mean[i], log_scale[i]);
    const T below = bin.has_b ? logistic(-bin.b) : T(0), above = bin.has_a ? logistic(bin.a) : T(0);
    const T w = bin.width();
    const T bin_term = bin.has_a && bin.has_b ? w / std::expm1(w) : T(0);
    d_mean[i] = dy[i] * bin.inverse * (below - above);
    d_log_scale[i] = dy[i] * (bin.b * below - bin.a * above + bin_term);
  }
};

}  // namespace

Var discretized_logistic(const Tensor& x, const Var& mean, const Var& log_scale) {
  constexpr const char* op = "discretized_logistic";
  for (const Var& v : {mean, log_scale}) {
    expect_shape(op, "parameter", v.value(), x.shape());
    expect_kind(op, "parameter", v.value(), x.kind());
  }
  const Tensor m = mean.value(), s = log_scale.value();
  return dispatch_float(op, x.dtype(), [&]<class T>() {
    Tensor y(x.shape(), x.kind());
    for_each(x.device(), x.size(), Nats<T>{x.data<T>(), m.data<T>(), s.data<T>(), y.data<T>()});
    return record(op, y, {mean, log_scale}, kNoProducts, [x, m, s](const Tensor& dy) {
      Tensor d_mean(x.shape(), x.kind()), d_log_scale(x.shape(), x.kind());
      for_each(x.device(), x.size(),
               NatsGradient<T>{x.data<T>(), m.data<T>(), s.data<T>(), dy.data<T>(),
                               d_mean.data<T>(), d_log_scale.data<T>()});
      return Gradients{d_mean, d_log_scale};
    });
  });
}

}  // namespace sfumato::nn
