// Activations.
#include <cmath>

#include "autograd/ops.h"
#include "autograd/pointwise.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

// σ(x) = 1 / (1 + e^-x),  dσ/dx = σ (1 - σ)
struct Sigmoid {
  static constexpr const char* name = "sigmoid";
  template <class T>
  constexpr T fwd(T x) const {
    return 1 / (1 + std::exp(-x));
  }
  template <class T>
  constexpr T bwd(T, T y, T dy) const {
    return y * (1 - y) * dy;
  }
};

struct Tanh {
  static constexpr const char* name = "tanh";
  template <class T>
  constexpr T fwd(T x) const {
    return std::tanh(x);
  }
  template <class T>
  constexpr T bwd(T, T y, T dy) const {
    return (1 - y * y) * dy;
  }
};

struct Relu {
  static constexpr const char* name = "relu";
  template <class T>
  constexpr T fwd(T x) const {
    return x > 0 ? x : T(0);
  }
  template <class T>
  constexpr T bwd(T x, T, T dy) const {
    return x > 0 ? dy : T(0);
  }
};

// x Φ(x), Φ the normal distribution function; d/dx = Φ(x) + x φ(x)     [Hendrycks and Gimpel 2016]
struct Gelu {
  static constexpr const char* name = "gelu";
  template <class T>
  static constexpr T cdf(T x) {
    return T(0.5) * (1 + std::erf(x * T(0.70710678118654752)));
  }
  template <class T>
  constexpr T fwd(T x) const {
    return x * cdf(x);
  }
  template <class T>
  constexpr T bwd(T x, T, T dy) const {
    const T density = std::exp(T(-0.5) * x * x) * T(0.39894228040143268);
    return (cdf(x) + x * density) * dy;
  }
};

}  // namespace

Var sigmoid(const Var& x) { return pointwise(x, Sigmoid{}); }
Var tanh(const Var& x) { return pointwise(x, Tanh{}); }
Var relu(const Var& x) { return pointwise(x, Relu{}); }
Var gelu(const Var& x) { return pointwise(x, Gelu{}); }

// silu(x) = x σ(x),  d/dx = σ (1 + x (1 - σ))                            [Elfwing 2017, eq. 5]
// Here as a kernel because every residual block runs it over every activation.
Var silu(const Var& x) {
  const Tensor xv = x.value();
  return dispatch_float("silu", xv.kind(), [&]<class T>() {
    Tensor y(xv.shape(), xv.kind());
    kernels::on<T>(xv.device()).silu_forward(xv.size(), xv.data<T>(), y.data<T>());
    return record("silu", y, {x}, kNoProducts, [xv](const Tensor& dy) {
      Tensor dx(xv.shape(), xv.kind());
      kernels::on<T>(xv.device())
          .silu_backward(xv.size(), xv.data<T>(), dy.data<T>(), dx.data<T>());
      return Gradients{dx};
    });
  });
}

// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2                             [Hendrycks and Gimpel 2016]
// A kernel, as transformers run it over four times as many numbers as a token has.
Var gelu_tanh(const Var& x) {
  const Tensor xv = x.value();
  return dispatch_float("gelu_tanh", xv.kind(), [&]<class T>() {
    Tensor y(xv.shape(), xv.kind());
    kernels::on<T>(xv.device()).gelu_tanh_forward(xv.size(), xv.data<T>(), y.data<T>());
    return record("gelu_tanh", y, {x}, kNoProducts, [xv](const Tensor& dy) {
      Tensor dx(xv.shape(), xv.kind());
      kernels::on<T>(xv.device())
          .gelu_tanh_backward(xv.size(), xv.data<T>(), dy.data<T>(), dx.data<T>());
      return Gradients{dx};
    });
  });
}

// y_i = e^x_i / Σ_j e^x_j,  dx = y (dy - Σ_j y_j dy_j)
Var softmax(const Var& x) {
  const Tensor& xv = x.value();
  if (xv.shape().rank() < 1) throw Error("softmax", "expected at least one axis");
  const std::int64_t cols = xv.dim(-1), rows = cols ? xv.size() / cols : 0;
  return dispatch_float("softmax", xv.kind(), [&]<class T>() {
    Tensor y(xv.shape(), xv.kind());
    kernels::on<T>(xv.device()).softmax_forward(rows, cols, xv.data<T>(), y.data<T>());
    return record("softmax", y, {x}, kNoProducts, [rows, cols, y](const Tensor& dy) {
      Tensor dx(y.shape(), y.kind());
      kernels::on<T>(y.device())
          .softmax_backward(rows, cols, y.data<T>(), dy.data<T>(), dx.data<T>());
      return Gradients{dx};
    });
  });
}

}  // namespace sfumato
