// DDIM backwards: against diffusers, and there and back.
#include "diffusion/inversion.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "diffusion/gaussian.h"
#include "tensor/io/json.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;

// tests/golden/make_inversion.py says what the runs are.
TEST(Inversion, WalksAsInDiffusers) {
  const io::Json golden =
      io::read_json(std::filesystem::path(SFUMATO_SOURCE_DIR) / "tests/golden/inversion.json");
  const Denoiser network = [](const Tensor& x, double t) {
    return 0.3 * x +
           0.2 * f64({1, 3}, {std::cos(t / 200), std::cos(1 + t / 200), std::cos(2 + t / 200)});
  };
  for (const io::Json& run : golden.at("runs")) {
    SampleOptions o{.steps = run.at("steps")};
    const Tensor x = invert(make_schedule(o.config), o, network, f64({1, 3}, {0.3, -1.2, 0.7}));
    EXPECT_LT(max_difference(x, f64({1, 3}, run.at("x").get<std::vector<double>>())), 1e-5)
        << o.steps;
  }
}

// Noise that DDIM makes the same points of: the better, the more steps, and exactly with refinements.
TEST(Inversion, ThereAndBack) {
  const std::vector<Gaussian> data = {
      {.weight = 1, .mean = {-0.6, 0.2}, .covariance = {0.05, 0.02, 0.02, 0.04}},
      {.weight = 2, .mean = {0.5, -0.3}, .covariance = {0.03, 0.06}}};
  const Tensor points = f64({3, 2}, {-0.7, 0.3, 0.4, -0.1, 0.6, -0.5});
  const auto distance = [&](const BetaSchedule& row, std::int64_t steps, std::int64_t refinements) {
    SchedulerConfig config{.sampler = Sampler::ddim, .beta_schedule = row};
    config.prediction_type = Prediction::v;
    config.clip_sample = false;
    config.timestep_spacing = Spacing::trailing;
    const Schedule s = make_schedule(config);
    const SampleOptions o{.config = config, .steps = steps};
    const Denoiser exact = exact_denoiser(s, data, Prediction::v);
    const Tensor noise = invert(s, o, exact, points, refinements);
    const double size = Path::variance_preserving.size(s.level(s.steps() - 1));
    return max_difference(sample(s, o, exact, 1 / size * noise), points);
  };
  for (const BetaSchedule* row :
       {&BetaSchedule::cosine, &BetaSchedule::flow, &BetaSchedule::linear}) {
    EXPECT_LT(distance(*row, 400, 1), 0.7 * distance(*row, 200, 1)) << row->name;
    EXPECT_LT(distance(*row, 400, 1), 0.05) << row->name;
    EXPECT_LT(distance(*row, 100, 60), 1e-6) << row->name;
  }
}

TEST(Inversion, NeedsARefinement) {
  const Denoiser identity = [](const Tensor& x, double) { return x; };
  EXPECT_THROW(invert(Schedule::linear(), {}, identity, f64({1, 1}, {0}), 0), Error);
}

}  // namespace
}  // namespace sfumato::diffusion
