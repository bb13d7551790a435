#include "diffusion/schedule.h"

#include <fmt/format.h>

#include <cmath>

#include "diffusion/names.h"
#include "diffusion/term.h"
#include "tensor/error.h"

namespace sfumato::diffusion {

const BetaSchedule& parse_beta_schedule(std::string_view name) {
  return parse_row("beta_schedule", BetaSchedule::all, name);
}

Schedule Schedule::linear(std::int64_t steps, double beta_start, double beta_end) {
  return make(BetaSchedule::linear, steps, beta_start, beta_end);
}

Schedule Schedule::scaled_linear(std::int64_t steps, double beta_start, double beta_end) {
  return make(BetaSchedule::scaled_linear, steps, beta_start, beta_end);
}

Schedule Schedule::cosine(std::int64_t steps) { return make(BetaSchedule::cosine, steps, 0, 0); }

Schedule Schedule::even_log_snr(std::int64_t steps, double first, double last) {
  if (steps < 2) throw Error("schedule", fmt::format("expected at least 2 steps, got {}", steps));
  std::vector<double> betas;
  double before = 1;
  for (std::int64_t t = 0; t < steps; ++t) {
    const double log_snr =
        first + (last - first) * static_cast<double>(t) / static_cast<double>(steps - 1);
    const double alpha_bar = variance_preserving_at_log_snr(log_snr).signal_variance;
    betas.push_back(1 - alpha_bar / before);
    before = alpha_bar;
  }
  return from_betas(betas);
}

Schedule Schedule::make(const BetaSchedule& row, std::int64_t steps, double beta_start,
                        double beta_end) {
  if (steps < 1) throw Error("schedule", fmt::format("expected at least 1 step, got {}", steps));
  if (row.betas) {
    Schedule s = from_betas(row.betas(steps, beta_start, beta_end));
    s.path = row.path;
    return s;
  }
  std::vector<double> alpha_bars;
  const std::int64_t first = row.from_zero && steps > 1 ? 0 : 1, last = steps - 1 + first;
  for (std::int64_t t = 0; t < steps; ++t) {
    const double u = static_cast<double>(t + first) / static_cast<double>(last);
    alpha_bars.push_back(variance_preserving_at_log_snr(row.log_snr(u)).signal_variance);
  }
  return from_alpha_bars(alpha_bars, *row.path);
}

Schedule Schedule::from_betas(std::span<const double> betas) {
  if (betas.empty()) throw Error("schedule", "expected at least 1 step, got 0");
  Schedule s;
  double product = 1;
  for (std::size_t t = 0; t < betas.size(); ++t) {
    const double alpha = 1.0f - static_cast<float>(betas[t]);
    const bool ends = alpha == 0 && t + 1 == betas.size() && t > 0;
    if (!(alpha > 0 && alpha < 1) && !ends)
      throw Error("schedule",
                  fmt::format("beta[{}] = {} is not inside (0, 1) as f32", t, betas[t]));
    product *= alpha;
    s.beta.push_back(1 - alpha);
    s.alpha.push_back(alpha);
    s.alpha_bar.push_back(product);
  }
  return s;
}

Schedule Schedule::from_alpha_bars(const std::vector<double>& alpha_bars, const Path& path) {
  Schedule s;
  s.path = &path;
  s.alpha_bar = alpha_bars;
  double before = 1;
  for (const double bar : alpha_bars) {
    if (!(bar >= 0 && bar < before))
      throw Error("schedule", fmt::format("alpha_bar = {} does not fall from {}", bar, before));
    s.alpha.push_back(bar / before);
    s.beta.push_back(1 - bar / before);
    before = bar;
  }
  return s;
}

double Schedule::alpha_bar_at(std::int64_t t) const {
  if (t < -1 || t >= steps())
    throw Error("schedule", fmt::format("t = {} is outside -1..{}", t, steps() - 1));
  return t < 0 ? 1.0 : alpha_bar[static_cast<std::size_t>(t)];
}

NoiseLevel Schedule::level_at(double t) const {
  const auto last = static_cast<double>(steps() - 1);
  if (!(t >= 0 && t <= last))
    throw Error("schedule", fmt::format("t = {} is outside 0..{}", t, steps() - 1));
  const auto whole = static_cast<std::int64_t>(t);
  const double w = t - static_cast<double>(whole);
  if (w == 0) return level(whole);
  const Path& line = *path->solver;
  const double before = line.time(level(whole)), after = line.time(level(whole + 1));
  const double time = std::isinf(after) ? before / (1 - w) : before + w * (after - before);
  return path->with_snr_of(line.at_time(time));
}

double Schedule::time_at(const NoiseLevel& level) const {
  const Path& line = *path->solver;
  const auto time = [&](std::int64_t t) { return line.time(this->level(t)); };
  const double want = line.time(level);
  if (want <= time(0)) return 0;
  if (want >= time(steps() - 1)) return static_cast<double>(steps() - 1);
  std::int64_t low = 0, high = steps() - 1;  // time(low) <= want < time(high)
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    (time(middle) <= want ? low : high) = middle;
  }
  const double before = time(low), after = time(high);
  return static_cast<double>(low) +
         (std::isinf(after) ? 1 - before / want : (want - before) / (after - before));
}

double Schedule::network_time(double t) const {
  return path->network_time(t, level_at(t), static_cast<double>(steps()));
}

NoiseLevel Schedule::level_told(double network_time) const {
  return path->told ? path->told(network_time, static_cast<double>(steps()))
                    : level_at(network_time);
}

Tensor Schedule::network_time(const Tensor& t) const {
  if (path == &Path::variance_preserving) return t;
  const Coefficient time =
      per_image(t, steps(), [&](std::int64_t i) { return network_time(static_cast<double>(i)); });
  const Tensor one = Tensor::full(t.shape(), 1, {DType::f32, t.device()});
  return time * one;
}

Schedule Schedule::with_zero_terminal_snr() const {
  const double first = std::sqrt(alpha_bar.front()), last = std::sqrt(alpha_bar.back());
  if (steps() < 2) throw Error("schedule", "zero terminal SNR: expected at least 2 steps, got 1");
  std::vector<double> bars;
  for (const double bar : alpha_bar) {
    const double root = (std::sqrt(bar) - last) * first / (first - last);
    bars.push_back(root * root);
  }
  return from_alpha_bars(bars, *path);
}

Schedule Schedule::shifted(double shift) const {
  if (shift == 1) return *this;
  std::vector<double> bars;
  for (const double bar : alpha_bar) bars.push_back(bar / (bar + shift * shift * (1 - bar)));
  return from_alpha_bars(bars, *path);
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

}  // namespace sfumato::diffusion
