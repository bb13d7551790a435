// docs/extend.md: a schedule.
#include <gtest/gtest.h>

#include "sfumato.h"

namespace {

using namespace sfumato;

// log-SNR falls in a line. Variational diffusion models (Kingma 2021), section 4; the ends as learned there.
const diffusion::BetaSchedule log_linear = {.name = "log_linear",
                                            .diffusers = "log_linear",
                                            .help = "log-SNR falls in a line",
                                            .log_snr = [](double u) { return 13.3 - 18.3 * u; }};

TEST(Extend, ASchedule) {
  diffusion::SchedulerConfig config;
  config.beta_schedule = log_linear;
  const diffusion::Schedule schedule = diffusion::make_schedule(config);
  EXPECT_NE(diffusion::terminal_noise_problem(schedule), "");  // it ends at ᾱ = 0.0067
  EXPECT_NEAR(schedule.level(499).log_snr(), 13.3 - 18.3 / 2, 1e-9);
  EXPECT_NEAR(schedule.time_at(schedule.level_at(250.25)), 250.25, 1e-9);
}

}  // namespace
