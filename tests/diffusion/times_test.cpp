// Distributions of timesteps: what is drawn against the shares of the row, and these against the papers' densities.
#include "diffusion/times.h"

#include <cmath>
#include <numbers>
#include <set>
#include <vector>

#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

Tensor draw(const TimeDistribution& row, const Schedule& s, std::int64_t n,
            std::uint64_t seed = 7) {
  return Times(row, s).draw(Rng(seed, Purpose::timestep), n);
}

TEST(Times, UniformOnesAreRandint) {
  const Tensor t = draw(TimeDistribution::uniform, Schedule::linear(), 100);
  EXPECT_EQ(testing::max_difference(t, Rng(7, Purpose::timestep).randint({100}, 1000)), 0);
}

// Kolmogorov's distance between n draws and the shares is above 2.7 / √n once in a million.
TEST(Times, AreDrawnAsOftenAsTheRowSays) {
  constexpr std::int64_t n = 100000;
  const Schedule s = Schedule::cosine(200);
  for (const TimeDistribution* row : TimeDistribution::all) {
    std::vector<double> shares(200);
    for (std::size_t t = 0; t < 200; ++t) shares[t] = static_cast<double>(t + 1) / 200;
    if (row->cumulative) shares = row->cumulative(s);
    ASSERT_EQ(shares.size(), 200U);
    EXPECT_EQ(shares.back(), 1);
    std::vector<double> drawn(200);
    const Tensor t = draw(*row, s, n);
    for (const std::int64_t i : t.values<std::int64_t>())
      drawn.at(static_cast<std::size_t>(i)) += 1.0 / n;
    double sum = 0;
    for (std::size_t i = 0; i < 200; ++i) {
      sum += drawn[i];
      EXPECT_NEAR(sum, shares[i], 2.7 / std::sqrt(static_cast<double>(n))) << row->name << " " << i;
    }
  }
}

TEST(Times, StratifiedOnesHaveOneInEachPart) {
  const Tensor t = draw(TimeDistribution::stratified_uniform, Schedule::linear(), 50);
  for (std::int64_t i = 0; i < 50; ++i) EXPECT_EQ(t.data<std::int64_t>()[i] / 20, i);
  // Of one image: anywhere.
  std::set<std::int64_t> seen;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    seen.insert(draw(TimeDistribution::stratified_uniform, Schedule::linear(), 1, seed)
                    .data<std::int64_t>()[0]);
  EXPECT_GT(seen.size(), 15U);
}

// The density of Stable Diffusion 3 (Esser 2024), eq. 19, integrated numerically over a timestep.
TEST(Times, LogitNormalOnesHaveThePapersDensity) {
  const std::vector<double> shares =
      TimeDistribution::logit_normal.cumulative(Schedule::linear(100));
  const auto density = [](double u) {
    const double logit = std::log(u / (1 - u));
    return std::exp(-logit * logit / 2) / (u * (1 - u)) / std::sqrt(2 * std::numbers::pi);
  };
  double sum = 0;
  for (std::size_t t = 0; t < 100; ++t) {
    for (int k = 0; k < 100; ++k)
      sum += density((static_cast<double>(t) + (k + 0.5) / 100) / 100) / 10000;
    EXPECT_NEAR(shares[t], sum, 1e-4) << t;
  }
}

// EDM (Karras 2022), table 1, on its own schedule: mean and deviation of log σ.
TEST(Times, EdmsHaveLogNormalNoise) {
  const Schedule s = Schedule::make(BetaSchedule::karras, 1000, 0, 0);
  constexpr std::int64_t n = 100000;
  const Tensor t = draw(TimeDistribution::edm, s, n);
  double mean = 0, square = 0;
  for (const std::int64_t i : t.values<std::int64_t>()) {
    const double log_sigma = std::log(s.level(i).sigma());
    mean += log_sigma / n, square += log_sigma * log_sigma / n;
  }
  EXPECT_NEAR(mean, -1.2, 0.02);
  EXPECT_NEAR(std::sqrt(square - mean * mean), 1.2, 0.02);
}

}  // namespace
}  // namespace sfumato::diffusion
