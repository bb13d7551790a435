#include "diffusion/eval/sliced.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "diffusion/eval/products.h"
#include "tensor/error.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"

namespace sfumato::eval {
namespace {

constexpr std::uint64_t kDirectionSeed = 11;

Tensor directions(std::int64_t width) {
  Tensor u = Rng(kDirectionSeed).normal({SlicedWasserstein::kDirections, width});
  for (std::int64_t i = 0; i < u.dim(0); ++i) {
    float* row = u.data<float>() + i * width;
    const double length = std::sqrt(std::transform_reduce(row, row + width, row, 0.0));
    for (std::int64_t k = 0; k < width; ++k) row[k] = static_cast<float>(row[k] / length);
  }
  return u;
}

// uᵀx for all rows x, for each direction u.
std::vector<std::vector<double>> project(const Features& directions, const Features& x) {
  std::vector<std::vector<double>> projected(static_cast<std::size_t>(directions.count()));
  parallel_for(directions.count(), [&](std::int64_t i) {
    x.products(directions.row(i), projected[static_cast<std::size_t>(i)]);
  });
  return projected;
}

// G(c / n) for c = 0..n, G(p) = ∫₀^p F⁻¹, of ascending values that each have as large a share.
std::vector<double> integrals(const std::vector<double>& ascending, std::size_t n) {
  const std::size_t m = ascending.size();
  std::vector<double> at(n + 1);
  double whole = 0;  // Σ of the values before `value`
  std::size_t value = 0;
  for (std::size_t c = 0; c <= n; ++c) {
    for (; value < m && (value + 1) * n <= c * m; ++value) whole += ascending[value];
    const double part = static_cast<double>(c * m - value * n) / static_cast<double>(n);
    at[c] = (whole + (value < m ? part * ascending[value] : 0)) / static_cast<double>(m);
  }
  return at;
}

// W₂² of the values x, of which `weights` says how often each is there, and of a line of which `integrals` are known, and
// the mean of the squares: each x is carried to the share of the line that has its place in the order.
struct Line {
  std::vector<double> x;
  std::vector<std::size_t> order;  // of x, ascending
  std::vector<double> integrals;
  double squares;

  double distance(const Weights& weights) const {
    const auto n = static_cast<double>(x.size());
    double sum = squares;
    std::size_t begin = 0;
    for (const std::size_t i : order) {
      const std::size_t end = begin + static_cast<std::size_t>(weights[i]);
      sum += x[i] * (weights[i] / n * x[i] - 2 * (integrals[end] - integrals[begin]));
      begin = end;
    }
    return sum;
  }
};

Line line(std::vector<double> x, const std::vector<double>& real) {
  Line l{.x = std::move(x), .order = {}, .integrals = {}, .squares = 0};
  l.order.resize(l.x.size());
  std::iota(l.order.begin(), l.order.end(), 0);
  std::sort(l.order.begin(), l.order.end(),
            [&](std::size_t i, std::size_t j) { return l.x[i] < l.x[j]; });
  l.integrals = integrals(real, l.x.size());
  for (const double y : real) l.squares += y * y / static_cast<double>(real.size());
  return l;
}

}  // namespace

SlicedWasserstein::SlicedWasserstein(const Tensor& real)
    : width_(real.dim(1)),
      directions_(directions(width_)),
      real_(project(Features("mind", directions_), Features("mind", real))) {
  for (std::vector<double>& values : real_) std::sort(values.begin(), values.end());
}

Estimate SlicedWasserstein::operator()(const Tensor& features, std::int64_t resamples) const {
  const Features u("mind", directions_), x("mind", features);
  expect_same_width("mind", u, x);
  const std::vector<std::vector<double>> projected = project(u, x);
  std::vector<Line> lines(projected.size());
  parallel_for(u.count(), [&](std::int64_t i) {
    const auto k = static_cast<std::size_t>(i);
    lines[k] = line(projected[k], real_[k]);
  });
  const auto distance = [&](const Weights& weights) {
    double sum = 0;
    for (const Line& l : lines) sum += l.distance(weights);
    return sum / static_cast<double>(lines.size());
  };
  const double value = distance(Weights(static_cast<std::size_t>(x.count()), 1));
  return bootstrap(value, x.count(), resamples, distance);
}

}  // namespace sfumato::eval
