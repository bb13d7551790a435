#include "diffusion/schedules/spaced.h"

#include <fmt/format.h>

#include <cmath>

#include "tensor/error.h"

namespace sfumato::diffusion {

std::vector<float> linspace(double first, double last, std::int64_t n) {
  if (n < 1) throw Error("schedule", fmt::format("expected at least 1 step, got {}", n));
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

void expect_beta_bounds(double beta_start, double beta_end) {
  const auto inside = [](double beta) { return beta > 0 && beta < 1; };
  if (!inside(beta_start) || !inside(beta_end))
    throw Error("schedule",
                fmt::format("expected beta_start and beta_end inside (0, 1), got {} and {}",
                            beta_start, beta_end));
}

}  // namespace sfumato::diffusion
