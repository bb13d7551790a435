#include "diffusion/toy/plane.h"

#include <cmath>
#include <numbers>
#include <string>

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

}  // namespace sfumato::diffusion::toy
