#include "diffusion/eval/frechet.h"

#include <fmt/format.h>

#include <Eigen/Eigenvalues>
#include <algorithm>

namespace sfumato::eval {
namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

struct Gaussian {
  Vector mean;
  Matrix covariance;
};

Gaussian fit(const char* what, const Tensor& features) {
  expect_rank("frechet_distance", what, features, 2);
  const std::int64_t n = features.dim(0), d = features.dim(1);
  if (n < 2)
    throw Error("frechet_distance", fmt::format("{}: expected at least 2 rows, got {}", what, n));
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix x = Eigen::Map<const Rows>(features.data<float>(), n, d).cast<double>();
  const Vector mean = x.colwise().mean();
  x.rowwise() -= mean.transpose();
  return {mean, x.transpose() * x / static_cast<double>(n - 1)};
}

// A^½ of a symmetric, positive semidefinite matrix; eigenvalues that rounding made negative are 0.
Matrix square_root(const Matrix& a) {
  const Eigen::SelfAdjointEigenSolver<Matrix> eigen(a);
  const Vector roots = eigen.eigenvalues().cwiseMax(0).cwiseSqrt();
  return eigen.eigenvectors() * roots.asDiagonal() * eigen.eigenvectors().transpose();
}

}  // namespace

double frechet_distance(const Tensor& a, const Tensor& b) {
  const Gaussian p = fit("a", a), q = fit("b", b);
  if (p.mean.size() != q.mean.size())
    throw Error("frechet_distance",
                fmt::format("features of {} and {} numbers", p.mean.size(), q.mean.size()));
  // C_a C_b is not symmetric, but has the eigenvalues of C_a^½ C_b C_a^½, which is.
  const Matrix root = square_root(p.covariance);
  const Eigen::SelfAdjointEigenSolver<Matrix> product(root * q.covariance * root,
                                                      Eigen::EigenvaluesOnly);
  const double cross = product.eigenvalues().cwiseMax(0).cwiseSqrt().sum();
  return (p.mean - q.mean).squaredNorm() + p.covariance.trace() + q.covariance.trace() - 2 * cross;
}

}  // namespace sfumato::eval
