#include "diffusion/schedule.h"

#include <fmt/format.h>

#include <cmath>

#include "diffusion/names.h"
#include "tensor/error.h"

namespace sfumato::diffusion {

const BetaSchedule& parse_beta_schedule(std::string_view name) {
  return parse_row("beta_schedule", BetaSchedule::all, name);
}

Schedule Schedule::linear(std::int64_t steps, double beta_start, double beta_end) {
  return from_betas(BetaSchedule::linear.betas(steps, beta_start, beta_end));
}

Schedule Schedule::scaled_linear(std::int64_t steps, double beta_start, double beta_end) {
  return from_betas(BetaSchedule::scaled_linear.betas(steps, beta_start, beta_end));
}

Schedule Schedule::cosine(std::int64_t steps) {
  return from_betas(BetaSchedule::cosine.betas(steps, 0, 0));
}

Schedule Schedule::from_betas(std::span<const double> betas) {
  if (betas.empty()) throw Error("schedule", "expected at least 1 step, got 0");
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

}  // namespace sfumato::diffusion
