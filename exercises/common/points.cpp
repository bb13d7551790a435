#include "common/points.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "common/pictures.h"

namespace exercises {
namespace {

constexpr double kRadius = 1.3, kSigma = 0.1;

std::vector<double> centre(std::size_t i) {
  const double angle = (0.25 + static_cast<double>(i) / kHeaps) * 2 * std::numbers::pi;
  return {kRadius * std::cos(angle), kRadius * std::sin(angle)};
}

}  // namespace

Mixture heap(std::size_t only, double sigma) {
  return {{.mean = centre(only), .covariance = {sigma * sigma, sigma * sigma}}};
}

Mixture heaps() {
  Mixture all;
  for (std::size_t i = 0; i < kHeaps; ++i) all.push_back(heap(i, kSigma)[0]);
  return all;
}

Points normal_points(std::uint64_t seed, std::size_t n) {
  return {normal_numbers(2 * seed, n), normal_numbers(2 * seed + 1, n)};
}

Points best_answer(const Points& x_t, const sfumato::diffusion::NoiseLevel& level,
                   const Mixture& data) {
  std::vector<double> rows;
  for (std::size_t i = 0; i < x_t.x.size(); ++i) {
    rows.push_back(x_t.x[i]);
    rows.push_back(x_t.y[i]);
  }
  const auto n = static_cast<std::int64_t>(x_t.x.size());
  const sfumato::Tensor eps = sfumato::diffusion::expected_eps(
      data, level, sfumato::Tensor::from<double>({n, 2}, std::span<const double>(rows)));
  const auto values = eps.values<double>();
  Points answer;
  for (std::size_t i = 0; i < x_t.x.size(); ++i) {
    answer.x.push_back(values[2 * i]);
    answer.y.push_back(values[2 * i + 1]);
  }
  return answer;
}

void print(const std::vector<Points>& points, const std::vector<std::string>& captions) {
  std::vector<std::vector<double>> xs, ys;
  for (const Points& p : points) {
    xs.push_back(p.x);
    ys.push_back(p.y);
  }
  print_points(xs, ys, 2.2, captions);
}

std::string count_heaps(const Points& points) {
  std::vector<int> inside(kHeaps, 0);
  int elsewhere = 0;
  for (std::size_t i = 0; i < points.x.size(); ++i) {
    bool found = false;
    for (std::size_t h = 0; h < kHeaps && !found; ++h) {
      const std::vector<double> c = centre(h);
      found = std::hypot(points.x[i] - c[0], points.y[i] - c[1]) < 4 * kSigma;
      inside[h] += found;
    }
    elsewhere += !found;
  }
  return fmt::format("in the heaps: {}; elsewhere: {}", fmt::join(inside, ", "), elsewhere);
}

double spread(const Points& points) {
  double sum = 0;
  for (std::size_t i = 0; i < points.x.size(); ++i) {
    double nearest = std::numeric_limits<double>::infinity();
    for (std::size_t h = 0; h < kHeaps; ++h) {
      const std::vector<double> c = centre(h);
      nearest = std::min(nearest, std::hypot(points.x[i] - c[0], points.y[i] - c[1]));
    }
    sum += nearest * nearest / 2;
  }
  return std::sqrt(sum / static_cast<double>(points.x.size()));
}

}  // namespace exercises
