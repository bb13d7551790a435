// Sums, means and losses.
#include <fmt/format.h>

#include <cmath>

#include "autograd/ops.h"
#include "tensor/arithmetic.h"

namespace sfumato {

Var sum(const Var& x) {
  const Shape shape = x.shape();
  const DType dtype = x.dtype();
  return record("sum", Tensor::full({}, sum(x.value()).item(), dtype), {x}, kNoProducts,
                [=](const Tensor& dy) { return Gradients{Tensor::full(shape, dy.item(), dtype)}; });
}

Var mean(const Var& x) {
  if (x.value().size() == 0) throw Error("mean", "of no elements");
  return sum(x) * (1.0 / static_cast<double>(x.value().size()));
}

Var sum_to(const Var& x, const Shape& shape) {
  if (!(broadcast("sum_to", x.shape(), shape) == x.shape()))
    throw Error("sum_to", fmt::format("{} does not stretch to {}", shape.str(), x.shape().str()));
  const Shape from = x.shape();
  return record("sum_to", reduce_to(x.value(), shape), {x}, kNoProducts, [from](const Tensor& dy) {
    return Gradients{add(Tensor::zeros(from, dy.dtype()), dy)};
  });
}

// L = 1/n Σ (a - b)²,  dL/da = 2 (a - b) / n = -dL/db
Var mse(const Var& a, const Var& b) {
  expect_shape("mse", "second input", b.value(), a.shape());
  expect_dtype("mse", "second input", b.value(), a.dtype());
  const auto n = static_cast<double>(a.value().size());
  if (n == 0) throw Error("mse", "of no elements");
  return dispatch_float("mse", a.dtype(), [&]<class T>() {
    Tensor difference = map<T>([](T p, T q) { return p - q; }, a.value(), b.value());
    Tensor loss = Tensor::full({}, sum_of_squares(difference).item() / n, a.dtype());
    return record("mse", loss, {a, b}, kNoProducts, [=](const Tensor& dy, const Needs& needs) {
      const double factor = 2 / n * dy.item();
      Gradients g(2);
      if (needs[0]) g[0] = scale(difference, factor);
      if (needs[1]) g[1] = scale(difference, -factor);
      return g;
    });
  });
}

// L = -1/N Σ_n log p_n[label_n] with p = softmax(logits);  dL/dlogits = (p - onehot(label)) / N
Var cross_entropy(const Var& logits, const Tensor& labels) {
  expect_rank("cross_entropy", "logits", logits.value(), 2);
  expect_dtype("cross_entropy", "labels", labels, DType::i64);
  const std::int64_t n = logits.dim(0), classes = logits.dim(1);
  expect_shape("cross_entropy", "labels", labels, {n});
  if (n == 0 || classes == 0) throw Error("cross_entropy", "of no elements");
  const std::int64_t* label = labels.data<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i)
    if (label[i] < 0 || label[i] >= classes)
      throw Error("cross_entropy", fmt::format("label {} is not in 0..{}", label[i], classes - 1));
  const Var p = softmax(Var(logits.value()));
  return dispatch_float("cross_entropy", logits.dtype(), [&]<class T>() {
    // log p = x - max - log Σ e^(x - max): p itself may underflow.
    const T* x = logits.value().data<T>();
    double loss = 0;
    for (std::int64_t i = 0; i < n; ++i, x += classes) {
      double top = x[0], total = 0;
      for (std::int64_t k = 1; k < classes; ++k) top = std::max(top, static_cast<double>(x[k]));
      for (std::int64_t k = 0; k < classes; ++k) total += std::exp(x[k] - top);
      loss += std::log(total) + top - x[label[i]];
    }
    return record("cross_entropy", Tensor::full({}, loss / n, logits.dtype()), {logits},
                  kNoProducts, [=, probability = p.value()](const Tensor& dy) {
                    const T factor = static_cast<T>(dy.item() / static_cast<double>(n));
                    Tensor dx = scale(probability, static_cast<double>(factor));
                    for (std::int64_t i = 0; i < n; ++i)
                      dx.data<T>()[i * classes + labels.data<std::int64_t>()[i]] -= factor;
                    return Gradients{dx};
                  });
  });
}

}  // namespace sfumato
