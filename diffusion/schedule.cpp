#include "diffusion/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "diffusion/names.h"
#include "tensor/error.h"

namespace sfumato::diffusion {
namespace {

constexpr EnumName<BetaSchedule> kNames[] = {
    {BetaSchedule::linear, "linear", "linear"},
    {BetaSchedule::scaled_linear, "scaled_linear", "scaled_linear"},
    {BetaSchedule::cosine, "cosine", "squaredcos_cap_v2"},
};

void expect_steps(std::int64_t steps) {
  if (steps < 1) throw Error("schedule", fmt::format("expected at least 1 step, got {}", steps));
}

void expect_ends(double beta_start, double beta_end) {
  const auto inside = [](double beta) { return beta > 0 && beta < 1; };
  if (!inside(beta_start) || !inside(beta_end))
    throw Error("schedule",
                fmt::format("expected beta_start and beta_end inside (0, 1), got {} and {}",
                            beta_start, beta_end));
}

// torch.linspace in float32, bit for bit as it runs on a CPU with AVX2 or AVX-512: from both ends
// towards the middle, a product and a sum rounded once (torch's path without vectors rounds twice,
// so that its own answers differ between machines, by 1.2e-7 in ᾱ).
std::vector<float> linspace(double first, double last, std::int64_t n) {
  expect_steps(n);
  const auto begin = static_cast<float>(first);
  const auto end = static_cast<float>(last);
  const float step = n > 1 ? (end - begin) / static_cast<float>(n - 1) : 0.0f;
  std::vector<float> values(static_cast<std::size_t>(n), begin);
  for (std::int64_t i = 1; i < n; ++i)
    values[static_cast<std::size_t>(i)] = i < n / 2
                                              ? std::fma(step, static_cast<float>(i), begin)
                                              : std::fma(-step, static_cast<float>(n - 1 - i), end);
  return values;
}

}  // namespace

const char* diffusers_name(BetaSchedule schedule) { return find_name(kNames, schedule).diffusers; }

BetaSchedule parse_beta_schedule(std::string_view name) {
  return parse_name("beta_schedule", kNames, name);
}

Schedule Schedule::linear(std::int64_t steps, double beta_start, double beta_end) {
  expect_ends(beta_start, beta_end);
  const std::vector<float> beta = linspace(beta_start, beta_end, steps);
  return from_betas(std::vector<double>(beta.begin(), beta.end()));
}

Schedule Schedule::scaled_linear(std::int64_t steps, double beta_start, double beta_end) {
  expect_ends(beta_start, beta_end);
  std::vector<double> beta;
  for (const float root : linspace(std::sqrt(beta_start), std::sqrt(beta_end), steps))
    beta.push_back(root * root);
  return from_betas(beta);
}

// ᾱ(u) = f(u) / f(0) with f(u) = cos²((u + s) / (1 + s) · π/2), u = t/T, s = 0.008. The offset s
// keeps the first β from being too small to learn from. Then β_t = 1 − ᾱ_t / ᾱ_{t−1}, where f(0)
// cancels, cut at 0.999 since the last would be 1.
Schedule Schedule::cosine(std::int64_t steps) {
  expect_steps(steps);
  const auto f = [](double u) {
    const double c = std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2);
    return c * c;
  };
  std::vector<double> beta;
  const auto T = static_cast<double>(steps);
  for (std::int64_t t = 0; t < steps; ++t) {
    const auto i = static_cast<double>(t);
    beta.push_back(std::min(1 - f((i + 1) / T) / f(i / T), 0.999));
  }
  return from_betas(beta);
}

Schedule Schedule::from_betas(std::span<const double> betas) {
  expect_steps(static_cast<std::int64_t>(betas.size()));
  Schedule s;
  double product = 1;
  for (std::size_t t = 0; t < betas.size(); ++t) {
    const double alpha = 1.0f - static_cast<float>(betas[t]);
    if (!(alpha > 0 && alpha < 1))
      throw Error("schedule",
                  fmt::format("beta[{}] = {} is not inside (0, 1) as f32", t, betas[t]));
    product *= alpha;
    s.beta.push_back(1 - alpha);
    s.alpha.push_back(alpha);
    s.alpha_bar.push_back(product);
  }
  return s;
}

double Schedule::alpha_bar_at(std::int64_t t) const {
  if (t < -1 || t >= steps())
    throw Error("schedule", fmt::format("t = {} is outside -1..{}", t, steps() - 1));
  return t < 0 ? 1.0 : alpha_bar[static_cast<std::size_t>(t)];
}

std::string terminal_noise_problem(const Schedule& schedule) {
  constexpr double kNoise = 0.005;
  const double last = schedule.alpha_bar.back();
  if (last <= kNoise) return "";
  return fmt::format(
      "the noise schedule ends at alpha_bar = {:.3g}: x_T still holds {:.0f} % of the picture, but "
      "sampling begins at pure noise, which training never sees",
      last, 100 * std::sqrt(last));
}

double snr(const Schedule& schedule, std::int64_t t) {
  const double alpha_bar = schedule.alpha_bar_at(t);
  return alpha_bar / (1 - alpha_bar);
}

}  // namespace sfumato::diffusion
