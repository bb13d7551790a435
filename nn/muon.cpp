#include "nn/muon.h"

#include <cmath>

#include "tensor/arithmetic.h"
#include "tensor/kernels/kernels.h"

namespace sfumato::nn {
namespace {

constexpr int kSteps = 5;

template <class T>
struct DivideByNorm {
  const T* u;
  const double* sum_of_squares;
  T* x;

  struct Elements {
    const T* u;
    T* x;
    T norm;
    constexpr void operator()(std::int64_t i) const { x[i] = u[i] / norm; }
  };
  constexpr Elements operator()(std::int64_t) const {
    return {u, x, static_cast<T>(std::sqrt(*sum_of_squares) + 1e-7)};
  }
};

// P = a I + b A + c A² of A [n, n], written over A²
template <class T>
struct Polynomial {
  std::int64_t n;
  const T* A;
  T* P;

  struct Row {
    std::int64_t row;
    const T* A;
    T* P;
    constexpr void operator()(std::int64_t j) const {
      constexpr T a = T(3.4445), b = T(-4.7750), c = T(2.0315);
      P[j] = (j == row ? a : 0) + b * A[j] + c * P[j];
    }
  };
  constexpr Row operator()(std::int64_t i) const { return {i, A + i * n, P + i * n}; }
};

}  // namespace

// Of a tall matrix, X Xᵀ would be the larger product: there A = Xᵀ X, and X = X (a I + b A + c A²).
Tensor orthogonalised(const Tensor& u) {
  const std::int64_t rows = u.dim(0), cols = u.dim(1), n = std::min(rows, cols);
  const bool tall = rows > cols;
  const Device device = u.device();
  Tensor x(u.shape(), u.kind()), next(u.shape(), u.kind());
  Tensor A({n, n}, u.kind()), P({n, n}, u.kind());
  const Tensor squares = sum_of_squares(u);
  dispatch_float("muon", u.dtype(), [&]<class T>() {
    const auto& kernels = kernels::on<T>(device);
    for_each_row(device, 1, u.size(),
                 DivideByNorm<T>{u.data<T>(), squares.data<double>(), x.data<T>()});
    for (int i = 0; i < kSteps; ++i) {
      kernels.gemm({.m = n,
                    .n = n,
                    .k = tall ? rows : cols,
                    .transpose_a = tall,
                    .transpose_b = !tall,
                    .a = x.data<T>(),
                    .b = x.data<T>(),
                    .c = A.data<T>()});
      kernels.gemm({.m = n, .n = n, .k = n, .a = A.data<T>(), .b = A.data<T>(), .c = P.data<T>()});
      for_each_row(device, n, n, Polynomial<T>{n, A.data<T>(), P.data<T>()});
      const Tensor &left = tall ? x : P, &right = tall ? P : x;
      kernels.gemm({.m = rows,
                    .n = cols,
                    .k = n,
                    .a = left.data<T>(),
                    .b = right.data<T>(),
                    .c = next.data<T>()});
      std::swap(x, next);
    }
  });
  return x;
}

}  // namespace sfumato::nn
