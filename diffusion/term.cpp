#include "diffusion/term.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "tensor/constant.h"
#include "tensor/for_each.h"
#include "tensor/index_check.h"

namespace sfumato::diffusion {
namespace {

// The times of the images that the coefficients tell apart; undefined where they are numbers.
const Tensor& times(const Coefficient& a, const Coefficient& b) {
  if (!a.is_number() && !b.is_number() &&
      (a.t().address() != b.t().address() || a.table().size() != b.table().size()))
    throw Error("coefficients",
                fmt::format("of {} and {} images, at times that are not the same tensor",
                            a.t().size(), b.t().size()));
  return a.is_number() ? b.t() : a.t();
}

// f(a, b) at each time.
template <class F>
Coefficient combine(const Coefficient& a, const Coefficient& b, F f) {
  const Tensor& t = times(a, b);
  const std::vector<double>&p = a.table(), &q = b.table();
  std::vector<double> table(std::max(p.size(), q.size()));
  for (std::size_t i = 0; i < table.size(); ++i)
    table[i] = f(p[p.size() == 1 ? 0 : i], q[q.size() == 1 ? 0 : i]);
  return t.defined() ? Coefficient(std::move(table), t) : Coefficient(table[0]);
}

// A coefficient as a device reads it.
struct Factor {
  double number;
  const double* table;    // null: `number`, for all images
  const std::int64_t* t;  // of each image
  std::int64_t size;      // of the table
  constexpr double operator()(std::int64_t image) const {
    return table ? table[bound_index(t[image], size)] : number;
  }
};

// The tensor keeps the table alive until the pass has been asked for.
Factor factor(const Coefficient& c, Device device, Tensor& table) {
  if (c.is_number()) return {c.table()[0], nullptr, nullptr, 0};
  const auto size = static_cast<std::int64_t>(c.table().size());
  table = constant(Tensor::from<double>({size}, c.table()), device);
  return {0, table.data<double>(), c.t().data<std::int64_t>(), size};
}

template <class T>
struct WeightedSum {
  Factor p, q;
  std::int64_t width;  // elements of an image
  const T *x, *y;
  T* to;

  struct Image {
    T p, q;
    const T *x, *y;
    T* to;
    constexpr void operator()(std::int64_t j) const { to[j] = p * x[j] + q * y[j]; }
  };
  constexpr Image operator()(std::int64_t n) const {
    const std::int64_t at = n * width;
    return {static_cast<T>(p(n)), static_cast<T>(q(n)), x + at, y + at, to + at};
  }
};

}  // namespace

Coefficient operator-(const Coefficient& a) {
  return combine(a, 0.0, [](double p, double) { return -p; });
}

Coefficient map(const Coefficient& a, double (*f)(double)) {
  return combine(a, 0.0, [=](double p, double) { return f(p); });
}

Coefficient operator+(const Coefficient& a, const Coefficient& b) {
  return combine(a, b, std::plus());
}

Coefficient operator*(const Coefficient& a, const Coefficient& b) {
  return combine(a, b, std::multiplies());
}

Coefficient operator/(const Coefficient& a, const Coefficient& b) {
  return combine(a, b, std::divides());
}

Tensor operator+(const Term& a, const Term& b) {
  expect_shape("sum", "second term", b.x, a.x.shape());
  expect_kind("sum", "second term", b.x, a.x.kind());
  const Tensor& t = times(a.factor, b.factor);
  if (t.defined() && (a.x.shape().rank() < 1 || a.x.dim(0) != t.size()))
    throw Error("sum", fmt::format("coefficients for {} images, terms of shape {}", t.size(),
                                   a.x.shape().str()));
  Tensor sum(a.x.shape(), a.x.kind()), table_a, table_b;
  const std::int64_t images = t.defined() ? t.size() : 1;
  const std::int64_t width = images > 0 ? sum.size() / images : 0;
  const Factor p = factor(a.factor, sum.device(), table_a);
  const Factor q = factor(b.factor, sum.device(), table_b);
  dispatch_float("sum", sum.dtype(), [&]<class T>() {
    for_each_row(sum.device(), images, width,
                 WeightedSum<T>{p, q, width, a.x.data<T>(), b.x.data<T>(), sum.data<T>()});
  });
  return sum;
}

Tensor per_image(const Coefficient& coefficient, int rank, Kind kind) {
  if (coefficient.is_number()) throw Error("per_image", "expected a coefficient of each image");
  std::vector<std::int64_t> extents(static_cast<std::size_t>(std::max(rank, 1)), 1);
  extents[0] = coefficient.t().size();
  const Tensor one = Tensor::full({extents.data(), extents.data() + extents.size()}, 1, kind);
  return coefficient * one;
}

Tensor operator-(const Term& a, const Term& b) { return a + Term{-b.factor, b.x}; }

Term::operator Tensor() const { return *this + Term{0.0, x}; }

}  // namespace sfumato::diffusion
