#include "diffusion/eval/products.h"

#include <fmt/format.h>

#include <algorithm>

#include "tensor/error.h"

namespace sfumato::eval {

Features::Features(const char* measure, const Tensor& rows, std::int64_t least) {
  expect_rank(measure, "features", rows, 2);
  expect_dtype(measure, "features", rows, DType::f32);
  n_ = rows.dim(0), d_ = rows.dim(1);
  if (n_ < least)
    throw Error(measure, fmt::format("expected at least {} pictures, got {}", least, n_));
  rows_.assign(rows.data<float>(), rows.data<float>() + n_ * d_);
  columns_.resize(rows_.size());
  squares_.resize(static_cast<std::size_t>(n_));
  for (std::int64_t i = 0; i < n_; ++i) {
    for (std::int64_t k = 0; k < d_; ++k) {
      const double x = row(i)[k];
      columns_[static_cast<std::size_t>(k * n_ + i)] = x;
      squares_[static_cast<std::size_t>(i)] += x * x;
    }
  }
}

void Features::products(const double* x, std::vector<double>& out) const {
  constexpr std::int64_t kPart = 512;  // of `out`, which stays in the first cache
  out.assign(static_cast<std::size_t>(n_), 0);
  for (std::int64_t begin = 0; begin < n_; begin += kPart) {
    const std::int64_t end = std::min(n_, begin + kPart);
    for (std::int64_t k = 0; k < d_; ++k) {
      const double* column = columns_.data() + k * n_;
      for (std::int64_t j = begin; j < end; ++j)
        out[static_cast<std::size_t>(j)] += x[k] * column[j];
    }
  }
}

void Features::distances(const double* x, double square, std::vector<double>& out) const {
  products(x, out);
  for (std::size_t j = 0; j < out.size(); ++j)
    out[j] = std::max(0.0, square + squares_[j] - 2 * out[j]);
}

void expect_same_width(const char* measure, const Features& a, const Features& b) {
  if (a.width() != b.width())
    throw Error(measure, fmt::format("features of {} and {} numbers", a.width(), b.width()));
}

}  // namespace sfumato::eval
