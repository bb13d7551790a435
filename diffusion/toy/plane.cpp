#include "diffusion/toy/plane.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "diffusion/forward.h"
#include "diffusion/toy/boxes.h"

namespace sfumato::diffusion::toy {
namespace {

Gaussian round(double weight, double x, double y, double sigma) {
  return {.weight = weight, .mean = {x, y}, .covariance = {sigma * sigma, sigma * sigma}};
}

std::vector<Gaussian> ring() {
  std::vector<Gaussian> parts;
  for (int k = 0; k < 8; ++k) {
    const double angle = std::numbers::pi / 4 * k;
    parts.push_back(round(1, std::cos(angle), std::sin(angle), 0.08));
  }
  return parts;
}

std::vector<Gaussian> grid() {
  std::vector<Gaussian> parts;
  for (int row = -1; row <= 1; ++row)
    for (int column = -1; column <= 1; ++column) parts.push_back(round(1, column, row, 0.1));
  return parts;
}

// The first component whose share of the weights reaches up to u in [0, 1).
const Gaussian& component(const std::vector<Gaussian>& mixture, double u) {
  double total = 0, reached = 0;
  for (const Gaussian& g : mixture) total += g.weight;
  for (const Gaussian& g : mixture)
    if (u * total < (reached += g.weight)) return g;
  return mixture.back();
}

std::vector<Gaussian> ellipse() {
  return {{.weight = 1, .mean = {0.3, -0.2}, .covariance = {0.64, 0.09}}};
}

// Eight of the sixteen squares of a board.
std::vector<Box> board() {
  constexpr double kSide = 0.7;
  std::vector<Box> boxes;
  for (int row = 0; row < 4; ++row)
    for (int column = row % 2; column < 4; column += 2) {
      const double x = kSide * (column - 2), y = kSide * (row - 2);
      boxes.push_back({.low = {x, y}, .high = {x + kSide, y + kSide}});
    }
  return boxes;
}

struct Point {
  double x, y;
};

// Points of a curve with noise about it: curve(u, v) with u, v ~ U[0, 1).
template <class Curve>
Tensor draw_curve(std::int64_t n, Rng rng, double noise, Curve curve) {
  const Tensor uv = rng.uniform({n, 2});
  Tensor x = rng.normal({n, 2});
  const float* from = uv.data<float>();
  float* to = x.data<float>();
  for (std::int64_t i = 0; i < n; ++i, from += 2, to += 2) {
    const Point p = curve(static_cast<double>(from[0]), static_cast<double>(from[1]));
    to[0] = static_cast<float>(p.x + noise * to[0]);
    to[1] = static_cast<float>(p.y + noise * to[1]);
  }
  return x;
}

// Half circles, as scikit-learn's make_moons has them, about the origin.
Point on_moons(double u, double which) {
  const double angle = std::numbers::pi * u, c = std::cos(angle), s = std::sin(angle);
  return which < 0.5 ? Point{c - 0.5, s - 0.25} : Point{0.5 - c, 0.25 - s};
}

// The roll of scikit-learn's make_swiss_roll, seen from its end.
Point on_swiss_roll(double u, double) {
  const double angle = 1.5 * std::numbers::pi * (1 + 2 * u), r = angle / 10;
  return {r * std::cos(angle), r * std::sin(angle)};
}

// Two arms, even along their length.
Point on_spiral(double u, double which) {
  const double share = std::sqrt(u), angle = 2 * std::numbers::pi * share;
  const double r = which < 0.5 ? 1.4 * share : -1.4 * share;
  return {r * std::cos(angle), r * std::sin(angle)};
}

}  // namespace

std::vector<Gaussian> mixture(std::string_view name) {
  if (name == "ring") return ring();
  if (name == "two") return {round(0.75, -0.8, -0.3, 0.25), round(0.25, 0.8, 0.5, 0.12)};
  if (name == "grid") return grid();
  throw Error("toy", "expected ring, two or grid, got \"" + std::string(name) + "\"");
}

Tensor draw(const std::vector<Gaussian>& mixture, std::int64_t n, Rng rng) {
  if (mixture.empty()) throw Error("toy", "expected a mixture of at least one Gaussian");
  const std::size_t D = mixture[0].mean.size();
  for (const Gaussian& g : mixture)
    if (g.mean.size() != D || g.covariance.size() != D)
      throw Error("toy", "expected Gaussians of one dimension with a diagonal covariance");
  const Tensor u = rng.uniform({n});
  Tensor x = rng.normal({n, static_cast<std::int64_t>(D)});
  float* row = x.data<float>();
  for (const float share : u.values<float>()) {
    const Gaussian& g = component(mixture, share);
    for (std::size_t i = 0; i < D; ++i, ++row)
      *row = static_cast<float>(g.mean[i] + std::sqrt(g.covariance[i]) * *row);
  }
  return x;
}

const Distribution Distribution::gaussian = {
    .name = "gaussian",
    .help = "an ellipse",
    .draw = [](std::int64_t n, Rng rng) { return toy::draw(ellipse(), n, std::move(rng)); },
    .exact = [](const NoiseLevel& level,
                const Tensor& xt) { return expected(ellipse(), level, xt); }};

const Distribution Distribution::mixture = {
    .name = "mixture",
    .help = "eight Gaussians on a circle",
    .draw = [](std::int64_t n, Rng rng) { return toy::draw(ring(), n, std::move(rng)); },
    .exact = [](const NoiseLevel& level, const Tensor& xt) { return expected(ring(), level, xt); }};

const Distribution Distribution::moons = {
    .name = "moons", .help = "two half circles", .draw = [](std::int64_t n, Rng rng) {
      return draw_curve(n, std::move(rng), 0.06, on_moons);
    }};

const Distribution Distribution::swiss_roll = {
    .name = "swiss_roll", .help = "a roll from its end", .draw = [](std::int64_t n, Rng rng) {
      return draw_curve(n, std::move(rng), 0.04, on_swiss_roll);
    }};

const Distribution Distribution::spiral = {
    .name = "spiral", .help = "two arms", .draw = [](std::int64_t n, Rng rng) {
      return draw_curve(n, std::move(rng), 0.03, on_spiral);
    }};

const Distribution Distribution::checkerboard = {
    .name = "checkerboard",
    .help = "eight squares of a board",
    .draw = [](std::int64_t n, Rng rng) { return draw_boxes(board(), n, std::move(rng)); },
    .exact = [](const NoiseLevel& level,
                const Tensor& xt) { return expected(board(), level, xt); }};

Denoiser denoiser(const Schedule& schedule, const Prediction& prediction, const Answer& answer) {
  return [=](const Tensor& xt, double t) {
    const NoiseLevel level = schedule.level_told(t);
    const auto [signal, noise] = levels(level);
    const auto [x0, eps] = answer(level, xt);
    return prediction.target(signal, noise, x0, eps);
  };
}

double sliced_wasserstein(const Tensor& a, const Tensor& b) {
  constexpr int kDirections = 64;
  if (a.shape() != b.shape() || a.shape().rank() != 2 || a.dim(0) < 1 || a.dim(1) != 2)
    throw Error("sliced_wasserstein",
                fmt::format("expected two sets of as many points [N, 2], got {} and {}",
                            a.shape().str(), b.shape().str()));
  const auto n = static_cast<std::size_t>(a.dim(0));
  const auto projections = [n](const Tensor& points, double c, double s) {
    std::vector<double> values;
    const double* p = points.data<double>();
    for (std::size_t i = 0; i < n; ++i) values.push_back(c * p[2 * i] + s * p[2 * i + 1]);
    std::sort(values.begin(), values.end());
    return values;
  };
  const Tensor x = a.to(DType::f64), y = b.to(DType::f64);
  double sum = 0;
  for (int k = 0; k < kDirections; ++k) {
    const double angle = std::numbers::pi * k / kDirections;
    const std::vector<double> p = projections(x, std::cos(angle), std::sin(angle));
    const std::vector<double> q = projections(y, std::cos(angle), std::sin(angle));
    for (std::size_t i = 0; i < n; ++i) sum += std::abs(p[i] - q[i]);
  }
  return sum / (kDirections * static_cast<double>(n));
}

}  // namespace sfumato::diffusion::toy
