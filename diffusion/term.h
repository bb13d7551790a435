// Formulas of the diffusion process, written as they are printed. All are one term or sums of two,
//     a x + b y,
// with coefficients that are numbers, or one number for each image of a batch. A term is no tensor
// until it is added to another, or stored alone: a formula is one pass over memory.
//     const auto [signal, noise] = levels(schedule, t);
//     const Tensor xt = signal * x0 + noise * eps;
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato::diffusion {

// A number, or a table with one number for each time and the times of the images of a batch. Arithmetic is on tables, so
// that it need not know the times: on a GPU they are read by the pass that adds two terms. Immutable.
class Coefficient {
 public:
  Coefficient(double value) : table_{value} {}
  // table[t[n]] for each image n; t i64 [N], where the images are.
  Coefficient(std::vector<double> table, Tensor t) : table_(std::move(table)), t_(std::move(t)) {}

  const std::vector<double>& table() const { return table_; }
  const Tensor& t() const { return t_; }  // undefined for a number
  bool is_number() const { return !t_.defined(); }

 private:
  std::vector<double> table_;
  Tensor t_;
};

Coefficient operator-(const Coefficient& a);
Coefficient map(const Coefficient& a, double (*f)(double));
// All throw Error unless the two are of the same times, or one of them is a number.
Coefficient operator+(const Coefficient& a, const Coefficient& b);
Coefficient operator*(const Coefficient& a, const Coefficient& b);
Coefficient operator/(const Coefficient& a, const Coefficient& b);

// f(t[n]) for each image n; t i64 [N] with elements in [0, times), where the images are.
template <class F>
Coefficient per_image(const Tensor& t, std::int64_t times, F f) {
  std::vector<double> table;
  for (std::int64_t time = 0; time < times; ++time) table.push_back(f(time));
  return Coefficient(std::move(table), t);
}

// The coefficient of each image as a tensor [N, 1, ...] of that rank, to be multiplied with images [N, ...]. Of one number:
// throws Error.
Tensor per_image(const Coefficient& coefficient, int rank, Kind kind);

// To be used within the expression that makes it: it refers to the tensor.
struct Term {
  Coefficient factor;
  const Tensor& x;
  operator Tensor() const;
};
inline Term operator*(Coefficient factor, const Tensor& x) { return {std::move(factor), x}; }

// x and y: of equal shape and kind (f32 or f64), with an axis of images where a coefficient has one number for each.
// Throws Error otherwise.
Tensor operator+(const Term& a, const Term& b);
Tensor operator-(const Term& a, const Term& b);
inline Tensor operator+(const Tensor& x, const Term& b) { return Term{1.0, x} + b; }

}  // namespace sfumato::diffusion
