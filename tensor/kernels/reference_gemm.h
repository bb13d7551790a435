// The first part of reference.h: matrix products and linear layers.
#pragma once
#include <cmath>
#include <vector>

#include "tensor/kernels/kernels.h"

namespace sfumato::kernels::reference {

using Numbers = std::vector<double>;

template <class T>
void round_to(T* to, const Numbers& from) {
  for (const double v : from) *to++ = static_cast<T>(v);
}

// ---- matrix products

template <class T>
void gemm(const Gemm<T>& g) {
  const index lda = g.lda ? g.lda : g.transpose_a ? g.m : g.k;
  const index ldb = g.ldb ? g.ldb : g.transpose_b ? g.k : g.n;
  const index ldc = g.ldc ? g.ldc : g.n;
  const auto a = [&](index i, index p) {
    return static_cast<double>(g.transpose_a ? g.a[p * lda + i] : g.a[i * lda + p]);
  };
  const auto b = [&](index p, index j) {
    return static_cast<double>(g.transpose_b ? g.b[j * ldb + p] : g.b[p * ldb + j]);
  };
  for (index i = 0; i < g.m; ++i) {
    for (index j = 0; j < g.n; ++j) {
      T& c = g.c[i * ldc + j];
      double sum = 0;
      if (g.accumulate) sum += c;
      if (g.bias) sum += g.bias[j];
      for (index p = 0; p < g.k; ++p) sum += a(i, p) * b(p, j);
      c = static_cast<T>(sum);
    }
    if (!g.sums) continue;
    double sum = 0;
    for (index p = 0; p < g.k; ++p) sum += a(i, p);
    g.sums[i] = static_cast<T>(sum);
  }
}

// ---- linear layers

struct Silu {
  double y, slope;
};
// y = z s,  dy/dz = s (1 + z (1 - s)),  s = sigmoid(z).
inline Silu silu(double z) {
  const double s = 1 / (1 + std::exp(-z));
  return {z * s, s * (1 + z * (1 - s))};
}

// y = u wᵀ + bias + residual
template <class T>
void linear_forward(const LinearForward<T>& a) {
  const Linear& s = a.linear;
  for (index i = 0; i < s.m; ++i)
    for (index j = 0; j < s.out; ++j) {
      double sum = 0;
      if (a.bias) sum += a.bias[j];
      if (a.residual) sum += a.residual[i * s.out + j];
      for (index p = 0; p < s.in; ++p) {
        const double x = a.x[i * s.in + p];
        sum += (s.silu ? silu(x).y : x) * a.w[j * s.in + p];
      }
      a.y[i * s.out + j] = static_cast<T>(sum);
    }
}

// dx = du/dx (dy w) + add,  dw = dyᵀ u,  db = Σ_rows dy
template <class T>
void linear_backward(const LinearBackward<T>& a) {
  const Linear& s = a.linear;
  Numbers dx(s.m * s.in), dw(s.out * s.in), db(s.out);
  for (index i = 0; i < s.m; ++i)
    for (index j = 0; j < s.out; ++j) {
      const double dy = a.dy[i * s.out + j];
      db[j] += dy;
      for (index p = 0; p < s.in; ++p) {
        const double x = a.x[i * s.in + p];
        dx[i * s.in + p] += dy * a.w[j * s.in + p] * (s.silu ? silu(x).slope : 1);
        dw[j * s.in + p] += dy * (s.silu ? silu(x).y : x);
      }
    }
  if (a.add)
    for (index i = 0; i < s.m * s.in; ++i) dx[i] += a.add[i];
  if (a.dx) round_to(a.dx, dx);
  if (a.dw) round_to(a.dw, dw);
  if (a.db) round_to(a.db, db);
}

}  // namespace sfumato::kernels::reference
