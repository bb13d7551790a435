#include "nn/muon.h"

#include <cmath>

#include "tensor/arithmetic.h"
#include "tensor/kernels/kernels.h"

namespace sfumato::nn {
namespace {

constexpr int kSteps = 5;
// Steps that go through the n x n matrices alone, of a matrix at least twice as long as wide. Rounding grows with each, and
// products may round to 11 bits (TF32). So not all five: of singular values 1/k² their result is 0.3 off, that of three
// and two 0.002.
constexpr int kStepsTogether = 3;

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

// a b, of matrices [n, n]
template <class T>
Tensor product(const Tensor& a, const Tensor& b) {
  const std::int64_t n = a.dim(0);
  Tensor c(a.shape(), a.kind());
  kernels::on<T>(c.device())
      .gemm({.m = n, .n = n, .k = n, .a = a.data<T>(), .b = b.data<T>(), .c = c.data<T>()});
  return c;
}

// Steps i = 1 ... k of A_1 = A: P_i = a I + b A_i + c A_i², A_{i+1} = P_i A_i P_i -> Q = P_k ... P_1, so that X_{k+1} = Q X_1.
// (All are polynomials of A: they commute.)
template <class T>
Tensor product_of_steps(int k, Tensor A) {
  Tensor Q;
  for (int i = 1; i <= k; ++i) {
    Tensor P = product<T>(A, A);
    for_each_row(A.device(), A.dim(0), A.dim(0), Polynomial<T>{A.dim(0), A.data<T>(), P.data<T>()});
    if (i < k) A = product<T>(product<T>(P, A), P);
    Q = i == 1 ? P : product<T>(P, Q);
  }
  return Q;
}

}  // namespace

// Of a tall matrix, X Xᵀ would be the larger product: there A = Xᵀ X, and X = X (a I + b A + c A²).
Tensor orthogonalised(const Tensor& u) {
  const std::int64_t rows = u.dim(0), cols = u.dim(1), n = std::min(rows, cols);
  const bool tall = rows > cols;
  const int together = std::max(rows, cols) >= 2 * n ? kStepsTogether : 1;
  const Device device = u.device();
  Tensor x(u.shape(), u.kind()), next(u.shape(), u.kind()), A({n, n}, u.kind());
  const Tensor squares = sum_of_squares(u);
  dispatch_float("muon", u.dtype(), [&]<class T>() {
    const auto& kernels = kernels::on<T>(device);
    for_each_row(device, 1, u.size(),
                 DivideByNorm<T>{u.data<T>(), squares.data<double>(), x.data<T>()});
    for (int done = 0; done < kSteps; done += together) {
      kernels.gemm({.m = n,
                    .n = n,
                    .k = tall ? rows : cols,
                    .transpose_a = tall,
                    .transpose_b = !tall,
                    .a = x.data<T>(),
                    .b = x.data<T>(),
                    .c = A.data<T>()});
      const Tensor Q = product_of_steps<T>(std::min(together, kSteps - done), A);
      const Tensor &left = tall ? x : Q, &right = tall ? Q : x;
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
