#include "diffusion/eval/frechet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "diffusion/eval/eigenvalues.h"

namespace sfumato::eval {
namespace {

double dot(const Vector& a, const Vector& b) {
  return std::transform_reduce(a.begin(), a.end(), b.begin(), 0.0);
}

struct Gaussian {
  Vector mean;
  double trace;  // of the covariance C
  Vectors root;  // the rows of R, C = Rᵀ R
};

// R of x = Q R, Q with orthonormal columns, R upper triangular: modified Gram-Schmidt. x: columns, overwritten by Q.
Vectors triangular_factor(Vectors& x) {
  const std::size_t d = x.size();
  Vectors r(d, Vector(d));
  for (std::size_t i = 0; i < d; ++i) {
    r[i][i] = std::sqrt(dot(x[i], x[i]));
    if (r[i][i] == 0) continue;
    for (double& q : x[i]) q /= r[i][i];
    for (std::size_t j = i + 1; j < d; ++j) {
      r[i][j] = dot(x[i], x[j]);
      for (std::size_t row = 0; row < x[i].size(); ++row) x[j][row] -= r[i][j] * x[i][row];
    }
  }
  return r;
}

Gaussian fit(const char* what, const Tensor& features) {
  expect_rank("frechet_distance", what, features, 2);
  const std::int64_t n = features.dim(0), d = features.dim(1);
  if (n < 2)
    throw Error("frechet_distance", fmt::format("{}: expected at least 2 rows, got {}", what, n));
  const float* const f = features.data<float>();
  Gaussian fitted{.mean = Vector(d), .trace = 0, .root = {}};
  Vectors x(d, Vector(n));  // less the mean, over √(n - 1): C = xᵀ x
  for (std::int64_t j = 0; j < d; ++j) {
    for (std::int64_t i = 0; i < n; ++i) x[j][i] = f[i * d + j];
    fitted.mean[j] = std::accumulate(x[j].begin(), x[j].end(), 0.0) / static_cast<double>(n);
    for (double& value : x[j])
      value = (value - fitted.mean[j]) / std::sqrt(static_cast<double>(n - 1));
    fitted.trace += dot(x[j], x[j]);
  }
  fitted.root = triangular_factor(x);
  return fitted;
}

// The sum of the singular values: pairs of columns are rotated until all are orthogonal, and the singular values are
// then their lengths (one-sided Jacobi: Golub and Van Loan, Matrix Computations, 8.6.3).
double nuclear_norm(Vectors columns) {
  constexpr double kOrthogonal = 1e-14;
  constexpr int kMostSweeps = 50;  // a dozen are enough; not so for NaN
  bool rotated = true;
  for (int sweep = 0; rotated && sweep < kMostSweeps; ++sweep) {
    rotated = false;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      for (std::size_t j = i + 1; j < columns.size(); ++j) {
        Vector &p = columns[i], &q = columns[j];
        const double pp = dot(p, p), qq = dot(q, q), pq = dot(p, q);
        if (std::abs(pq) <= kOrthogonal * std::sqrt(pp) * std::sqrt(qq)) continue;
        rotated = true;
        const double zeta = (qq - pp) / (2 * pq);
        const double t = std::copysign(1 / (std::abs(zeta) + std::hypot(1, zeta)), zeta);
        const double c = 1 / std::hypot(1, t), s = c * t;
        for (std::size_t row = 0; row < p.size(); ++row) {
          const double old = p[row];
          p[row] = c * old - s * q[row];
          q[row] = s * old + c * q[row];
        }
      }
    }
  }
  double sum = 0;
  for (const Vector& column : columns) sum += std::sqrt(dot(column, column));
  return sum;
}

double distance_between(const Gaussian& p, const Gaussian& q) {
  const std::size_t d = p.mean.size();
  if (d != q.mean.size())
    throw Error("frechet_distance", fmt::format("features of {} and {} numbers", d, q.mean.size()));
  // C_a C_b = R_aᵀ R_a R_bᵀ R_b has the eigenvalues of M Mᵀ, M = R_a R_bᵀ. Their roots are the singular values of M,
  // which are found with a rounding error of ε; by the eigenvalues it would be √ε.
  Vectors m(d, Vector(d));
  double shift = 0;
  for (std::size_t j = 0; j < d; ++j) {
    for (std::size_t i = 0; i < d; ++i) m[j][i] = dot(p.root[i], q.root[j]);
    shift += (p.mean[j] - q.mean[j]) * (p.mean[j] - q.mean[j]);
  }
  return shift + p.trace + q.trace - 2 * nuclear_norm(m);
}

// The distance of resamples of `a` from a Gaussian with C_b = Rᵀ R. C_a C_b has the eigenvalues of R C_a Rᵀ, the
// covariance of y = R (x − μ_b): the pictures are turned once, and a resample costs a covariance and its eigenvalues.
// Their rounding error, √ε of the distance, does not matter to an interval.
class Resampled {
 public:
  Resampled(const Tensor& a, const Gaussian& b)
      : b_(b), d_(b.mean.size()), x_(static_cast<std::size_t>(a.dim(0)), Vector(d_)), y_(x_) {
    for (std::size_t i = 0; i < x_.size(); ++i) {
      for (std::size_t j = 0; j < d_; ++j) x_[i][j] = a.data<float>()[i * d_ + j] - b.mean[j];
      for (std::size_t j = 0; j < d_; ++j) y_[i][j] = dot(b.root[j], x_[i]);
      squares_.push_back(dot(x_[i], x_[i]));
    }
  }

  double operator()(const Weights& weights) const {
    const auto n = static_cast<double>(x_.size());
    Vector mean_x(d_), mean_y(d_);
    Vectors c(d_, Vector(d_));  // Σ y yᵀ, its lower half
    double squares = 0;
    for (std::size_t i = 0; i < x_.size(); ++i) {
      const double w = weights[i];
      if (w == 0) continue;
      squares += w * squares_[i];
      for (std::size_t j = 0; j < d_; ++j) {
        mean_x[j] += w / n * x_[i][j];
        mean_y[j] += w / n * y_[i][j];
        const double wy = w * y_[i][j];
        for (std::size_t k = 0; k <= j; ++k) c[j][k] += wy * y_[i][k];
      }
    }
    for (std::size_t j = 0; j < d_; ++j)
      for (std::size_t k = 0; k <= j; ++k)
        c[k][j] = c[j][k] = (c[j][k] - n * mean_y[j] * mean_y[k]) / (n - 1);
    const double shift = dot(mean_x, mean_x);
    double roots = 0;
    for (const double value : eigenvalues(c)) roots += std::sqrt(std::max(0.0, value));
    return shift + (squares - n * shift) / (n - 1) + b_.trace - 2 * roots;
  }

 private:
  const Gaussian& b_;
  std::size_t d_;
  Vectors x_, y_;   // x − μ_b and R (x − μ_b), a row a picture
  Vector squares_;  // ‖x − μ_b‖²
};

}  // namespace

double frechet_distance(const Tensor& a, const Tensor& b) {
  return distance_between(fit("a", a), fit("b", b));
}

Estimate frechet_estimate(const Tensor& a, const Tensor& b, std::int64_t resamples) {
  const Gaussian q = fit("b", b);
  const double distance = distance_between(fit("a", a), q);
  return bootstrap(distance, a.dim(0), resamples, Resampled(a, q));
}

}  // namespace sfumato::eval
