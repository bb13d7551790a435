// Inner products of all pairs of two sets of features, a row at a time.
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato::eval {

// Features [N, D], f32, kept in double and by columns, so that products with all of them are sums over vectors.
class Features {
 public:
  // Throws Error, naming `measure`, unless `rows` has two axes and `least` rows or more.
  Features(const char* measure, const Tensor& rows, std::int64_t least = 1);

  std::int64_t count() const { return n_; }
  std::int64_t width() const { return d_; }
  const double* row(std::int64_t i) const { return rows_.data() + i * d_; }
  double square(std::int64_t i) const { return squares_[static_cast<std::size_t>(i)]; }  // ‖x_i‖²

  // out[j] = xᵀ x_j, for an x of as many numbers.
  void products(const double* x, std::vector<double>& out) const;
  // out[j] = ‖x − x_j‖², where `square` is ‖x‖².
  void distances(const double* x, double square, std::vector<double>& out) const;

 private:
  std::int64_t n_, d_;
  std::vector<double> rows_, columns_, squares_;
};

// Throws Error, naming `measure`, unless the features have as many numbers.
void expect_same_width(const char* measure, const Features& a, const Features& b);

}  // namespace sfumato::eval
