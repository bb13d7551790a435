// docs/extend.md: a schedule.
#include <gtest/gtest.h>

#include <cmath>

#include "sfumato.h"

namespace {

using namespace sfumato;

// β_i = σ(−6 + 12 i / (T−1)) (β_end − β_start) + β_start, σ the logistic function.       [GeoDiff, Xu 2022]
std::vector<double> sigmoid_betas(std::int64_t steps, double beta_start, double beta_end) {
  std::vector<double> beta;
  for (std::int64_t i = 0; i < steps; ++i) {
    const double u = -6 + 12 * static_cast<double>(i) / static_cast<double>(steps - 1);
    beta.push_back((beta_end - beta_start) / (1 + std::exp(-u)) + beta_start);
  }
  return beta;
}

const diffusion::BetaSchedule sigmoid = {.name = "sigmoid",
                                         .diffusers = "sigmoid",
                                         .help = "β rises like the logistic function",
                                         .betas = sigmoid_betas};

TEST(Extend, ASchedule) {
  diffusion::SchedulerConfig config;
  config.beta_schedule = sigmoid;
  const diffusion::Schedule schedule = diffusion::make_schedule(config);
  EXPECT_EQ(diffusion::terminal_noise_problem(schedule), "");
  EXPECT_NEAR(schedule.beta[500], 0.0101, 1e-4);
}

}  // namespace
