// The choice of timesteps. Lists are what diffusers 0.42 gives (its schedulers' set_timesteps).
#include "diffusion/spacing.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using List = std::vector<std::int64_t>;

SchedulerConfig config(Spacing spacing, std::int64_t T, std::int64_t offset = 0) {
  SchedulerConfig c;
  c.timestep_spacing = spacing;
  c.num_train_timesteps = T;
  c.steps_offset = offset;
  return c;
}

TEST(Timesteps, OfEachSpacing) {
  struct {
    Spacing spacing;
    std::int64_t T, offset, steps;
    List want;
  } const cases[] = {
      {Spacing::leading, 1000, 0, 4, {750, 500, 250, 0}},
      {Spacing::leading, 1000, 1, 4, {751, 501, 251, 1}},
      {Spacing::leading, 1000, 0, 7, {857, 714, 571, 428, 285, 142, 0}},  // not as diffusers
      {Spacing::leading, 2, 1, 2, {1, 0}},                                // the offset gives way
      {Spacing::leading, 1000, 0, 1, {0}},
      {Spacing::leading, 3, 0, 3, {2, 1, 0}},
      {Spacing::trailing, 1000, 0, 4, {999, 749, 499, 249}},
      {Spacing::trailing, 1000, 1, 4, {999, 749, 499, 249}},
      {Spacing::trailing, 1000, 0, 7, {999, 856, 713, 570, 428, 285, 142}},
      {Spacing::trailing, 1000, 0, 1, {999}},
      {Spacing::trailing, 3, 0, 2, {2, 1}},         // 1.5 rounds to 2
      {Spacing::trailing, 10, 0, 4, {9, 7, 4, 1}},  // 7.5 rounds to 8, 2.5 to 2
      {Spacing::linspace, 1000, 0, 4, {999, 666, 333, 0}},
      {Spacing::linspace, 1000, 0, 7, {999, 832, 666, 500, 333, 166, 0}},  // 499.5 to 500
      {Spacing::linspace, 1000, 0, 1, {0}},
      {Spacing::linspace, 1, 0, 1, {0}},
  };
  for (const auto& c : cases)
    EXPECT_EQ(timesteps(config(c.spacing, c.T, c.offset), c.steps), c.want)
        << name(c.spacing) << " " << c.T << " " << c.steps;
}

TEST(Timesteps, FallInsideTheRangeForEveryNumberOfSteps) {
  for (const Spacing spacing : {Spacing::leading, Spacing::trailing, Spacing::linspace})
    for (const std::int64_t T : {1, 2, 50, 1000})
      for (std::int64_t steps = 1; steps <= T; ++steps) {
        const List ts = timesteps(config(spacing, T), steps);
        ASSERT_EQ(static_cast<std::int64_t>(ts.size()), steps);
        ASSERT_LT(ts.front(), T);
        ASSERT_GE(ts.back(), 0);
        for (std::size_t i = 1; i < ts.size(); ++i) ASSERT_LT(ts[i], ts[i - 1]);
      }
}

// Trailing's times where it needs no rounding, and σ/a twice as large.
TEST(Timesteps, ShiftedDoublesTheNoiseOfTheFlow) {
  SchedulerConfig c = config(Spacing::shifted, 1000);
  c.beta_schedule = BetaSchedule::flow;
  c.sampler = Sampler::euler;
  c.prediction_type = Prediction::flow;
  const auto levels = [](const SchedulerConfig& of) {
    return make_chain(make_schedule(of), {.config = of, .steps = 20}, {}).levels;
  };
  const std::vector<NoiseLevel> shifted = levels(c);
  c.timestep_spacing = Spacing::trailing;
  const std::vector<NoiseLevel> trailing = levels(c);
  ASSERT_EQ(shifted.size(), 21u);
  EXPECT_EQ(shifted[0].signal_variance, 0);
  for (std::size_t i = 1; i < 20; ++i)
    EXPECT_NEAR(shifted[i].sigma() / trailing[i].sigma(), 2, 1e-9) << i;
}

TEST(Timesteps, ShiftedFallsForEveryNumberOfSteps) {
  for (const std::int64_t T : {1, 2, 50, 1000})
    for (std::int64_t steps = 1; steps <= T; ++steps) {
      const std::vector<double> times = grid_times(config(Spacing::shifted, T), steps);
      ASSERT_EQ(std::ssize(times), steps);
      ASSERT_EQ(times.front(), static_cast<double>(T - 1));
      ASSERT_GT(times.back(), -1e-9);
      for (std::size_t i = 1; i < times.size(); ++i) ASSERT_LT(times[i], times[i - 1]);
    }
}

// The levels of a chain are those of its timesteps, and then that of the data.
TEST(Timesteps, EachLeadsToTheNext) {
  const Schedule s = make_schedule({});
  SampleOptions options = {.config = config(Spacing::trailing, 1000), .steps = 7};
  const Chain chain = make_chain(s, options, {});
  EXPECT_EQ(chain.times, (std::vector<double>{999, 856, 713, 570, 428, 285, 142}));
  ASSERT_EQ(chain.levels.size(), 8u);
  for (std::size_t i = 0; i < 7; ++i)
    EXPECT_EQ(chain.levels[i].signal_variance,
              s.alpha_bar_at(static_cast<std::int64_t>(chain.times[i])));
  EXPECT_EQ(chain.levels[7].noise_variance, 0);
  // A field of DDIM alone.
  options.config.set_alpha_to_one = false;
  EXPECT_EQ(make_chain(s, options, {}).levels[7].noise_variance, 0);
  options.config.sampler = Sampler::ddim;
  EXPECT_EQ(make_chain(s, options, {}).levels[7].signal_variance, s.alpha_bar_at(0));
}

// More steps never begin further from training's end, t = T − 1.
TEST(Timesteps, MoreStepsBeginNoLower) {
  for (const Spacing spacing : {Spacing::leading, Spacing::trailing, Spacing::linspace}) {
    std::int64_t before = 0;
    for (std::int64_t steps = 1; steps <= 1000; ++steps) {
      const std::int64_t first = timesteps(config(spacing, 1000, 1), steps).front();
      ASSERT_GE(first, before) << name(spacing) << " " << steps;
      before = first;
    }
  }
}

TEST(SchedulerConfig, DefaultsAreThoseOfDiffusers) {
  const Schedule s = make_schedule({});
  EXPECT_EQ(s.alpha_bar, Schedule::linear(1000, 1e-4, 0.02).alpha_bar);
}

TEST(SchedulerConfig, ChoosesTheSchedule) {
  SchedulerConfig c;
  c.num_train_timesteps = 3;
  c.beta_schedule = BetaSchedule::cosine;
  EXPECT_EQ(make_schedule(c).alpha_bar, Schedule::cosine(3).alpha_bar);
  c.beta_schedule = BetaSchedule::scaled_linear;
  EXPECT_EQ(make_schedule(c).alpha_bar, Schedule::scaled_linear(3, 1e-4, 0.02).alpha_bar);
  c.trained_betas = {0.1, 0.2, 0.3};
  EXPECT_EQ(make_schedule(c).alpha_bar, Schedule::from_betas(c.trained_betas).alpha_bar);
}

TEST(SchedulerConfig, NamesGoBothWays) {
  for (const char* name : {"fixed_small", "fixed_large"})
    EXPECT_EQ(sfumato::diffusion::name(parse_variance(name)), name);
  for (const auto& row : kSpacings)
    EXPECT_EQ(sfumato::diffusion::name(parse_spacing(row.name)), row.name);
}

}  // namespace
}  // namespace sfumato::diffusion
