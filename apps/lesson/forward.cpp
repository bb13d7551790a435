// Chapters 1 to 3: noise in steps, sums of Gaussians, and all steps at once.
#include "diffusion/forward.h"

#include <algorithm>
#include <cmath>

#include "apps/lesson/bridge.h"
#include "tensor/rng.h"

namespace sfumato::lesson {
namespace {

using diffusion::Schedule;
using diffusion::operator*;

// Of all elements: how the noise of step t is drawn for chapters 1 and 3.
Tensor step_noise(const Json& args, std::int64_t t, const Shape& shape) {
  return Rng(args.value("seed", 0), Purpose::noise, static_cast<std::uint64_t>(t)).normal(shape);
}

// Chapter 1. {picture, t, naive, sigma, schedule, steps, seed}: a picture walked to step t, and mean and variance over
// its pixels after each step.
Json walk(const Json& args) {
  const bool naive = args.value("naive", false);
  const double sigma = args.value("sigma", 0.1);
  const Schedule s = schedule_of(args);
  const std::int64_t end = std::min(args.at("t").get<std::int64_t>(), s.steps());
  Tensor x = picture_of(args);
  const Moments start = moments(x);
  Json means = Json::array({start.mean}), variances = Json::array({start.variance});
  for (std::int64_t t = 0; t < end; ++t) {
    const Tensor eps = step_noise(args, t, x.shape());
    x = naive ? 1.0 * x + sigma * eps : diffusion::q_step(s, x, times(1, t), eps);
    const Moments now = moments(x);
    means.push_back(now.mean);
    variances.push_back(now.variance);
  }
  const double spread = std::max(1.0, std::sqrt(variances.back().get<double>()));
  return {{"x", pixels(x)},
          {"mean", means},
          {"variance", variances},
          {"range", 4 * spread},
          {"histogram", histogram(x, 4 * spread, 48)},
          {"density", density(1, 4 * spread, 48)}};
}

// Chapter 1. {naive, sigma, schedule, steps, picture, share}: the first number of steps after which the picture has at
// most `share` of the variance of x_t; null if that never happens within the schedule.
Json until_noise(const Json& args) {
  const double variance = moments(picture_of(args)).variance, share = args.value("share", 0.01);
  const Schedule s = schedule_of(args);
  const double sigma = args.value("sigma", 0.1);
  for (std::int64_t t = 0; t < 1'000'000; ++t) {
    if (!args.value("naive", false) && t >= s.steps()) return nullptr;
    const diffusion::NoiseLevel level =
        args.value("naive", false)
            ? diffusion::NoiseLevel{1, static_cast<double>(t + 1) * sigma * sigma}
            : s.level(t);
    const double signal = level.signal_variance * variance;
    if (signal / (signal + level.noise_variance) <= share) return t + 1;
  }
  return nullptr;
}

// The largest distance between the distribution of the numbers and that of N(0, σ²), and the probability that chance
// alone gives as large a one (Kolmogorov's series).
Json kolmogorov_smirnov(const Tensor& x, double sigma) {
  std::vector<float> sorted(x.values<float>().begin(), x.values<float>().end());
  std::sort(sorted.begin(), sorted.end());
  const double n = static_cast<double>(sorted.size());
  double distance = 0;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const double p = std::erfc(-sorted[i] / (sigma * std::sqrt(2.0))) / 2;
    distance =
        std::max({distance, p - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - p});
  }
  const double z = distance * std::sqrt(n);
  double p = z < 0.2 ? 1 : 0;
  for (int k = 1; z >= 0.2 && k <= 100; ++k) p += (k % 2 ? 2 : -2) * std::exp(-2.0 * k * k * z * z);
  return {{"distance", distance}, {"p", std::clamp(p, 0.0, 1.0)}};
}

// Chapter 2. {sigma_a, sigma_b, n, seed, mistaken}: a ~ N(0, σ_a²), b ~ N(0, σ_b²) and their sum against
// N(0, σ_a² + σ_b²); mistaken: against N(0, (σ_a + σ_b)²).
Json sums(const Json& args) {
  const double sigma_a = args.at("sigma_a"), sigma_b = args.at("sigma_b");
  const std::int64_t n = args.value("n", 20000);
  const std::uint64_t seed = args.value("seed", 0);
  const Tensor za = Rng(seed, Purpose::noise, 0).normal({n}),
               zb = Rng(seed, Purpose::noise, 1).normal({n});
  const Tensor a = sigma_a * za, b = sigma_b * zb, sum = 1.0 * a + 1.0 * b;
  const double sigma = args.value("mistaken", false)
                           ? sigma_a + sigma_b
                           : std::sqrt(sigma_a * sigma_a + sigma_b * sigma_b);
  constexpr double kRange = 6;
  constexpr int kBins = 72;
  return {{"range", kRange},
          {"a", histogram(a, kRange, kBins)},
          {"b", histogram(b, kRange, kBins)},
          {"sum", histogram(sum, kRange, kBins)},
          {"density", density(sigma, kRange, kBins)},
          {"variance_a", moments(a).variance},
          {"variance_b", moments(b).variance},
          {"variance_sum", moments(sum).variance},
          {"expected", sigma * sigma},
          {"test", kolmogorov_smirnov(sum, sigma)}};
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(a.data<float>()[i]) * b.data<float>()[i];
  return sum;
}

Tensor copies(const Tensor& x0, std::int64_t n) {
  Tensor all(x0.shape().with(0, n));
  for (std::int64_t i = 0; i < n; ++i) all.slice(i, i + 1).copy_from(x0);
  return all;
}

// What of x_0 is in x_t, <x_t, x_0> / <x_0, x_0>, and the mean square of the rest.
Json measured(const Tensor& xt, const Tensor& x0, const diffusion::NoiseLevel& level) {
  const Tensor noise = 1.0 * xt - level.signal() * x0;
  return {{"x", pixels(xt.slice(0, 1))},
          {"signal", dot(xt, x0) / dot(x0, x0)},
          {"noise", dot(noise, noise) / static_cast<double>(noise.size())}};
}

// Chapter 3. {picture, t, copies, schedule, steps, seed}: chains walked to x_t by q_step beside q_sample in one go.
Json merge(const Json& args) {
  const Schedule s = schedule_of(args);
  const std::int64_t n = args.value("copies", 8), t = args.at("t");
  const Tensor x0 = copies(picture_of(args), n);
  Tensor walked = x0;
  for (std::int64_t i = 0; i <= t; ++i)
    walked = diffusion::q_step(s, walked, times(n, i), step_noise(args, i, x0.shape()));
  const Tensor eps = step_noise(args, s.steps(), x0.shape());
  const Tensor jumped = diffusion::q_sample(s, x0, times(n, t), eps);
  const diffusion::NoiseLevel level = s.level(t);
  return {{"walked", measured(walked, x0, level)},
          {"jumped", measured(jumped, x0, level)},
          {"signal", level.signal()},
          {"noise", level.noise_variance},
          {"numbers", x0.size()}};
}

// {index, count}: pictures as bytes with their labels.
Json show(const Json& args) {
  Json all = Json::array();
  const std::int64_t begin = args.value("picture", 0), count = args.value("count", 10);
  for (std::int64_t i = begin; i < begin + count; ++i)
    all.push_back({{"x", pixels(picture_of({{"picture", i}}))},
                   {"label", pictures().labels.values<std::int64_t>()[static_cast<std::size_t>(
                                 i % pictures().labels.size())]}});
  return all;
}

constexpr Function kFunctions[] = {
    {"walk", walk}, {"until_noise", until_noise}, {"sums", sums}, {"merge", merge}, {"show", show}};

}  // namespace

std::span<const Function> forward_functions() { return kFunctions; }

}  // namespace sfumato::lesson
