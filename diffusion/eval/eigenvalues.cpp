#include "diffusion/eval/eigenvalues.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sfumato::eval {
namespace {

struct Tridiagonal {
  Vector diagonal, beside;  // beside[k] stands in row k, column k + 1
};

// P A P for one column after the other, P = 1 − β v vᵀ, which leaves of the column below the diagonal one number.
Tridiagonal tridiagonal(Vectors& a) {
  const std::size_t n = a.size();
  Tridiagonal t{Vector(n), Vector(n)};
  Vector v(n), w(n);
  for (std::size_t k = 0; k < n; ++k) {
    t.diagonal[k] = a[k][k];
    double squares = 0;
    for (std::size_t i = k + 1; i < n; ++i) squares += a[k][i] * a[k][i];
    if (squares == 0) continue;
    t.beside[k] = -std::copysign(std::sqrt(squares), a[k][k + 1]);
    for (std::size_t i = k + 1; i < n; ++i) v[i] = a[k][i];
    v[k + 1] -= t.beside[k];
    const double beta = 1 / (squares - t.beside[k] * a[k][k + 1]);  // 2 / vᵀv
    double vw = 0;
    for (std::size_t i = k + 1; i < n; ++i) {
      w[i] = 0;
      for (std::size_t j = k + 1; j < n; ++j) w[i] += a[i][j] * v[j];
      vw += v[i] * w[i];
    }
    for (std::size_t i = k + 1; i < n; ++i) w[i] = beta * (w[i] - beta / 2 * vw * v[i]);
    for (std::size_t i = k + 1; i < n; ++i)
      for (std::size_t j = k + 1; j < n; ++j) a[i][j] -= v[i] * w[j] + w[i] * v[j];
  }
  return t;
}

// One step on rows first..last, none of whose off-diagonal numbers is 0.
void qr_step(Tridiagonal& t, std::size_t first, std::size_t last) {
  Vector &d = t.diagonal, &e = t.beside;
  const double half = (d[last - 1] - d[last]) / 2, end = e[last - 1];
  const double shift = d[last] - end * end / (half + std::copysign(std::hypot(half, end), half));
  double x = d[first] - shift, z = e[first];
  for (std::size_t k = first; k < last; ++k) {
    const double r = std::hypot(x, z), c = r == 0 ? 1 : x / r, s = r == 0 ? 0 : z / r;
    if (k > first) e[k - 1] = r;
    const double above = d[k], below = d[k + 1], beside = e[k];
    d[k] = c * c * above + 2 * c * s * beside + s * s * below;
    d[k + 1] = s * s * above - 2 * c * s * beside + c * c * below;
    e[k] = c * s * (below - above) + (c * c - s * s) * beside;
    if (k + 1 == last) break;
    x = e[k];
    z = s * e[k + 1];
    e[k + 1] *= c;
  }
}

}  // namespace

Vector eigenvalues(Vectors& symmetric) {
  constexpr std::size_t kMostSteps = 50;  // for each; two are usual, and NaN never ends
  const std::size_t n = symmetric.size();
  Tridiagonal t = tridiagonal(symmetric);
  double size = 0;
  for (std::size_t k = 0; k < n; ++k)
    size = std::max({size, std::abs(t.diagonal[k]), std::abs(t.beside[k])});
  const double nothing = std::numeric_limits<double>::epsilon() * size;
  std::size_t steps = 0;
  for (std::size_t last = n; last-- > 0;) {
    for (;; ++steps) {
      std::size_t first = last;
      while (first > 0 && std::abs(t.beside[first - 1]) > nothing) --first;
      if (first == last || steps >= kMostSteps * n) break;
      qr_step(t, first, last);
    }
  }
  return t.diagonal;
}

}  // namespace sfumato::eval
