#include "diffusion/toy/boxes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace sfumato::diffusion::toy {
namespace {

constexpr double kLogRoot2Pi = 0.91893853320467274178;  // log √(2π)

double phi(double z) { return std::exp(-z * z / 2 - kLogRoot2Pi); }

// (1 − Φ(z)) / φ(z) for z >= 0, Mills' ratio: where the tail's mass is below the smallest double, by Laplace's continued
// fraction 1 / (z + 1 / (z + 2 / (z + ...))).
double mills_ratio(double z) {
  if (z < 10) return std::erfc(z / std::numbers::sqrt2) / 2 / phi(z);
  double fraction = z;
  for (int k = 30; k >= 1; --k) fraction = z + k / fraction;
  return 1 / fraction;
}

}  // namespace

TruncatedNormal::TruncatedNormal(double alpha, double beta) {
  const double width = beta - alpha, middle = (alpha + beta) / 2;
  const double mirror = middle < 0 ? -1 : 1;  // the interval in the right half, or about 0
  const double a = std::min(alpha * mirror, beta * mirror), b = a + width;
  if (width * std::max(1.0, b) < 1e-2) {  // φ is all but a line there: the first terms in the width
    const double squared = width * width;
    log_mass =
        std::log(width) - middle * middle / 2 - kLogRoot2Pi + (middle * middle - 1) * squared / 24;
    mean = middle - middle * squared / 12;
    return;
  }
  if (a > 0) {                                              // both over φ(a), which may be 0
    const double ratio = std::exp(-(b - a) * (b + a) / 2);  // φ(b) / φ(a)
    const double mass = mills_ratio(a) - ratio * mills_ratio(b);
    log_mass = std::log(mass) - a * a / 2 - kLogRoot2Pi;
    mean = (1 - ratio) / mass;
  } else {
    const double mass = (std::erf(b / std::numbers::sqrt2) - std::erf(a / std::numbers::sqrt2)) / 2;
    log_mass = std::log(mass);
    mean = (phi(a) - phi(b)) / mass;
  }
  mean = mirror * std::clamp(mean, a, b);
}

Tensor draw_boxes(std::span<const Box> boxes, std::int64_t n, Rng rng) {
  if (boxes.empty()) throw Error("toy", "expected at least one box");
  const Tensor which = rng.randint({n}, static_cast<std::int64_t>(boxes.size()));
  Tensor x = rng.uniform({n, 2});
  float* at = x.data<float>();
  for (const std::int64_t k : which.values<std::int64_t>()) {
    const Box& box = boxes[static_cast<std::size_t>(k)];
    for (int i = 0; i < 2; ++i, ++at)
      *at = static_cast<float>(box.low[i] + (box.high[i] - box.low[i]) * *at);
  }
  return x;
}

Estimate expected(std::span<const Box> boxes, const NoiseLevel& level, const Tensor& xt) {
  expect_shape("expected", "xt", xt, {xt.dim(0), 2});
  const double signal = level.signal(), noise = level.noise();
  const Tensor x = xt.to(DType::f64);
  Tensor x0 = Tensor::zeros(xt.shape(), DType::f64), eps = x0.clone();
  std::vector<double> log_mass(boxes.size()), mean(2 * boxes.size());
  for (std::int64_t n = 0; n < xt.dim(0); ++n) {
    const double* point = x.data<double>() + 2 * n;
    double largest = -std::numeric_limits<double>::infinity(), total = 0;
    for (std::size_t k = 0; k < boxes.size(); ++k) {
      log_mass[k] = 0;
      for (std::size_t i = 0; i < 2; ++i) {
        const double low = boxes[k].low[i], high = boxes[k].high[i];
        const TruncatedNormal cut((signal * low - point[i]) / noise,
                                  (signal * high - point[i]) / noise);
        if (signal > 0) log_mass[k] += cut.log_mass;
        mean[2 * k + i] = signal > 0 ? std::clamp((point[i] + noise * cut.mean) / signal, low, high)
                                     : (low + high) / 2;
      }
      largest = std::max(largest, log_mass[k]);
    }
    for (double& m : log_mass) total += m = std::exp(m - largest);
    for (std::size_t i = 0; i < 2; ++i) {
      double& answer = x0.data<double>()[2 * n + static_cast<std::int64_t>(i)];
      for (std::size_t k = 0; k < boxes.size(); ++k)
        answer += log_mass[k] / total * mean[2 * k + i];
      eps.data<double>()[2 * n + static_cast<std::int64_t>(i)] =
          (point[i] - signal * answer) / noise;
    }
  }
  return {x0.to(xt.dtype()), eps.to(xt.dtype())};
}

}  // namespace sfumato::diffusion::toy
