// Formulas of the diffusion process, written as they are printed. All are sums of two terms,
//     a x + b y,
// with coefficients that are numbers, or one number for each image of a batch. A term is no tensor
// until it is added to another: a formula is one pass over memory.
//     const auto [signal, noise] = levels(schedule, t);
//     const Tensor xt = signal * x0 + noise * eps;
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato::diffusion {

class Coefficient {
 public:
  Coefficient(double value) : values_{value} {}
  // One for each image.
  explicit Coefficient(std::vector<double> values) : values_(std::move(values)) {}

  double operator[](std::int64_t image) const {
    return values_[values_.size() == 1 ? 0 : static_cast<std::size_t>(image)];
  }
  std::int64_t size() const { return static_cast<std::int64_t>(values_.size()); }

 private:
  std::vector<double> values_;
};

Coefficient operator-(const Coefficient& a);
// Both throw Error unless the two have a number for each of as many images, or one of them one for all.
Coefficient operator+(const Coefficient& a, const Coefficient& b);
Coefficient operator/(const Coefficient& a, const Coefficient& b);

// f(t[n]) for each image n; t i64 [N].
template <class F>
Coefficient per_image(const Tensor& t, F f) {
  std::vector<double> values;
  for (const std::int64_t time : t.values<std::int64_t>()) values.push_back(f(time));
  return Coefficient(std::move(values));
}

// To be used within the expression that makes it: it refers to the tensor.
struct Term {
  Coefficient factor;
  const Tensor& x;
};
inline Term operator*(Coefficient factor, const Tensor& x) { return {std::move(factor), x}; }

// x and y: of equal shape and dtype (f32 or f64), with an axis of images where a coefficient has
// one number for each. Throws Error otherwise.
Tensor operator+(const Term& a, const Term& b);
Tensor operator-(const Term& a, const Term& b);
inline Tensor operator+(const Tensor& x, const Term& b) { return Term{1.0, x} + b; }

}  // namespace sfumato::diffusion
