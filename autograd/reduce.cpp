// Sums, means and losses.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/ops.h"
#include "tensor/arithmetic.h"
#include "tensor/index_check.h"

namespace sfumato {

namespace {

// dy, a single number, for each element of x.
Tensor spread(const Tensor& dy, const Shape& shape) {
  return add(Tensor::zeros(shape, dy.kind()), dy);
}

}  // namespace

Var sum(const Var& x) {
  return record("sum", sum(x.value()).to(x.dtype()), {x}, kNoProducts,
                [shape = x.shape()](const Tensor& dy) { return Gradients{spread(dy, shape)}; });
}

Var mean(const Var& x) {
  if (x.value().size() == 0) throw Error("mean", "of no elements");
  return sum(x) * (1.0 / static_cast<double>(x.value().size()));
}

Var sum_to(const Var& x, const Shape& shape) {
  if (!(broadcast("sum_to", x.shape(), shape) == x.shape()))
    throw Error("sum_to", fmt::format("{} does not stretch to {}", shape.str(), x.shape().str()));
  const Shape from = x.shape();
  return record("sum_to", reduce_to(x.value(), shape), {x}, kNoProducts,
                [from](const Tensor& dy) { return Gradients{spread(dy, from)}; });
}

namespace {

struct Minus {
  template <class T>
  constexpr T operator()(T a, T b) const {
    return a - b;
  }
};

// A sum in double, divided by the number of its terms.
template <class T>
struct Mean {
  const double* sum;
  double n;
  T* mean;
  constexpr void operator()(std::int64_t) const { *mean = static_cast<T>(*sum / n); }
};

template <class T>
Tensor mean_of(const Tensor& sum, double n, Kind kind) {
  Tensor mean({}, kind);
  for_each(mean.device(), 1, Mean<T>{sum.data<double>(), n, mean.data<T>()});
  return mean;
}

// x times factor * number, where the number is a tensor's.
template <class T>
struct TimesNumber {
  const T* number;
  double factor;
  constexpr T operator()(T x) const {
    return static_cast<T>(factor * static_cast<double>(*number)) * x;
  }
};

}  // namespace

// L = 1/n Σ (a - b)²,  dL/da = 2 (a - b) / n = -dL/db
Var mse(const Var& a, const Var& b) {
  expect_shape("mse", "second input", b.value(), a.shape());
  expect_kind("mse", "second input", b.value(), a.kind());
  const auto n = static_cast<double>(a.value().size());
  if (n == 0) throw Error("mse", "of no elements");
  return dispatch_float("mse", a.dtype(), [&]<class T>() {
    const Tensor difference = map<T>(Minus{}, a.value(), b.value());
    const Tensor loss = mean_of<T>(sum_of_squares(difference), n, a.kind());
    return record("mse", loss, {a, b}, kNoProducts, [=](const Tensor& dy, const Needs& needs) {
      Gradients g(2);
      if (needs[0]) g[0] = map<T>(TimesNumber<T>{dy.data<T>(), 2 / n}, difference);
      if (needs[1]) g[1] = map<T>(TimesNumber<T>{dy.data<T>(), -2 / n}, difference);
      return g;
    });
  });
}

namespace {

// -log p of a row's label. log p = x - max - log Σ e^(x - max): p itself may underflow.
template <class T>
struct LogLoss {
  std::int64_t classes;
  const T* logits;
  const std::int64_t* labels;
  double* losses;
  constexpr void operator()(std::int64_t i) const {
    const T* x = logits + i * classes;
    double top = x[0], total = 0;
    for (std::int64_t k = 1; k < classes; ++k) top = std::max(top, static_cast<double>(x[k]));
    for (std::int64_t k = 0; k < classes; ++k) total += std::exp(x[k] - top);
    losses[i] = std::log(total) + top - x[bound_index(labels[i], classes)];
  }
};

// (p - onehot(label)) dy / n
template <class T>
struct LogLossGradient {
  std::int64_t classes;
  double share;  // 1 / n
  const T* p;
  const std::int64_t* labels;
  const T* dy;
  T* dx;
  constexpr void operator()(std::int64_t i) const {
    const T factor = static_cast<T>(static_cast<double>(*dy) * share);
    dx[i] = factor * p[i];
    if (i % classes == labels[i / classes]) dx[i] -= factor;
  }
};

}  // namespace

// L = -1/N Σ_n log p_n[label_n] with p = softmax(logits);  dL/dlogits = (p - onehot(label)) / N
Var cross_entropy(const Var& logits, const Tensor& labels) {
  expect_rank("cross_entropy", "logits", logits.value(), 2);
  const std::int64_t n = logits.dim(0), classes = logits.dim(1);
  expect_shape("cross_entropy", "labels", labels, {n});
  if (n == 0 || classes == 0) throw Error("cross_entropy", "of no elements");
  expect_indices("cross_entropy", "label", labels, classes);
  const Tensor p = softmax(Var(logits.value())).value();
  return dispatch_float("cross_entropy", logits.dtype(), [&]<class T>() {
    const Kind kind = logits.kind();
    Tensor losses({n}, {DType::f64, kind.device});
    for_each(kind.device, n,
             LogLoss<T>{classes, logits.value().data<T>(), labels.data<std::int64_t>(),
                        losses.data<double>()});
    return record(
        "cross_entropy", mean_of<T>(sum(losses), static_cast<double>(n), kind), {logits},
        kNoProducts, [=](const Tensor& dy) {
          Tensor dx(p.shape(), p.kind());
          for_each(dx.device(), dx.size(),
                   LogLossGradient<T>{classes, 1.0 / static_cast<double>(n), p.data<T>(),
                                      labels.data<std::int64_t>(), dy.data<T>(), dx.data<T>()});
          return Gradients{dx};
        });
  });
}

}  // namespace sfumato
