// Distributions of timesteps: what is drawn against the shares of the row, and these against the papers' densities.
#include "diffusion/times.h"

#include <cmath>
#include <numbers>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "tensor/recorded.h"
#include "tests/devices.h"
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

// ---- Times drawn by loss

constexpr std::int64_t kSteps = 20;

// Losses that fall by a factor of 400 from t to t, as those of the bound do, and vary by themselves.
float loss_of(std::int64_t t, double u) {
  return static_cast<float>(std::exp(-0.3 * static_cast<double>(t)) * (0.5 + u));
}

Tensor floats(const std::vector<float>& values) {
  return Tensor::from<float>({static_cast<std::int64_t>(values.size())}, std::span(values));
}

// Every t has had `each` losses, t by t.
Times taught_times(std::int64_t each, std::uint64_t seed = 1) {
  Times times(TimeDistribution::loss, Schedule::linear(kSteps));
  const Tensor u = Rng(seed).uniform({each, kSteps});
  for (std::int64_t i = 0; i < each; ++i) {
    std::vector<std::int64_t> t;
    std::vector<float> losses;
    for (std::int64_t s = 0; s < kSteps; ++s) {
      t.push_back(s);
      losses.push_back(loss_of(s, u.data<float>()[i * kSteps + s]));
    }
    times.history()->add(Tensor::from<std::int64_t>({kSteps}, std::span(std::as_const(t))),
                         floats(losses));
  }
  return times;
}

// p_t of eq. 18, with the code's share of uniform draws, of the last ten losses.
std::vector<double> optimal(std::uint64_t seed, std::int64_t each) {
  const Tensor u = Rng(seed).uniform({each, kSteps});
  std::vector<double> p(kSteps);
  double sum = 0;
  for (std::int64_t s = 0; s < kSteps; ++s) {
    for (std::int64_t i = each - 10; i < each; ++i)
      p[static_cast<std::size_t>(s)] += std::pow(loss_of(s, u.data<float>()[i * kSteps + s]), 2);
    p[static_cast<std::size_t>(s)] = std::sqrt(p[static_cast<std::size_t>(s)] / 10);
    sum += p[static_cast<std::size_t>(s)];
  }
  for (double& share : p) share = 0.999 * share / sum + 0.001 / kSteps;
  return p;
}

// Improved DDPM (Nichol & Dhariwal 2021), eq. 18.
TEST(TimesByLoss, AreTheOptimumOfTheLastTenLosses) {
  for (const std::int64_t each : {10, 13, 27}) {
    const Times times = taught_times(each);
    const std::vector<double> p = optimal(1, each);
    constexpr std::int64_t n = 100000;
    const Tensor t = times.draw(Rng(7, Purpose::timestep), n);
    std::vector<double> drawn(kSteps);
    for (const std::int64_t i : t.values<std::int64_t>())
      drawn.at(static_cast<std::size_t>(i)) += 1.0 / n;
    double sum = 0, shares = 0;
    for (std::size_t s = 0; s < kSteps; ++s) {
      sum += drawn[s], shares += p[s];
      EXPECT_NEAR(sum, shares, 2.7 / std::sqrt(static_cast<double>(n))) << each << " " << s;
    }
    const Tensor importance = times.importance(t);
    for (std::int64_t i = 0; i < n; ++i) {
      const auto s = static_cast<std::size_t>(t.data<std::int64_t>()[i]);
      ASSERT_NEAR(importance.data<float>()[i] * p[s] * kSteps, 1, 1e-6);
    }
  }
}

TEST(TimesByLoss, AreUniformUntilEveryTimeHasTenLosses) {
  Times times = taught_times(9);
  const Tensor most = Tensor::from<std::int64_t>({3}, {0, 1, 2});
  times.history()->add(most, floats({9, 9, 9}));  // ten each, but for the others
  const Tensor t = times.draw(Rng(3), 2000);
  const Tensor importance = times.importance(t);
  for (const float w : importance.values<float>()) EXPECT_EQ(w, 1);
  std::set<std::int64_t> seen;
  for (const std::int64_t i : t.values<std::int64_t>()) seen.insert(i);
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(kSteps));
}

TEST(TimesByLoss, ATimeThatIsThereTwiceHasBothLosses) {
  Times times(TimeDistribution::loss, Schedule::linear(3));
  for (int i = 0; i < 4; ++i)
    times.history()->add(Tensor::from<std::int64_t>({3}, {1, 1, 1}),
                         floats({float(3 * i), float(3 * i + 1), float(3 * i + 2)}));
  EXPECT_EQ(times.history()->seen.data<std::int64_t>()[1], 12);
  for (const float want : {10.F, 11.F, 2.F, 3.F, 9.F}) {
    const auto column = static_cast<std::int64_t>(want) % 10;
    EXPECT_EQ(times.history()->losses.data<float>()[10 + column], want);
  }
}

// Of the mean over t of the losses: unbiased, with the variance that theory says, below that of uniform times.
TEST(TimesByLoss, EstimateTheSameLossWithLessVariance) {
  constexpr std::int64_t n = 200000;
  const Times by_loss = taught_times(10),
              uniform(TimeDistribution::uniform, Schedule::linear(kSteps));
  const Tensor u = Rng(11).uniform({n});
  struct Moments {
    double mean = 0, variance = 0;
  };
  const auto estimate = [&](const Times& times) {
    const Tensor t = times.draw(Rng(5, Purpose::timestep), n), importance = times.importance(t);
    Moments m;
    double square = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double weight = importance.defined() ? importance.data<float>()[i] : 1;
      const double x = weight * loss_of(t.data<std::int64_t>()[i], u.data<float>()[i]);
      m.mean += x / n, square += x * x / n;
    }
    m.variance = square - m.mean * m.mean;
    return m;
  };
  // u ~ U(0, 1): E[0.5 + u] = 1, E[(0.5 + u)²] = 13/12.
  const std::vector<double> p = optimal(1, 10);
  double mean = 0, of_p = 0, of_uniform = 0;
  for (std::size_t s = 0; s < kSteps; ++s) {
    const double size = std::exp(-0.3 * static_cast<double>(s)), square = size * size * 13 / 12;
    mean += size / kSteps;
    of_p += square / (p[s] * kSteps * kSteps), of_uniform += square / kSteps;
  }
  of_p -= mean * mean, of_uniform -= mean * mean;
  const Moments a = estimate(by_loss), b = estimate(uniform);
  for (const Moments& m : {a, b})
    EXPECT_NEAR(m.mean, mean, 5 * std::sqrt(m.variance / static_cast<double>(n)));
  EXPECT_NEAR(a.variance / of_p, 1, 0.03);
  EXPECT_NEAR(b.variance / of_uniform, 1, 0.03);
  EXPECT_LT(a.variance, 0.1 * b.variance);
}

// A recorded step reads and writes the history where it is.
TEST(TimesByLoss, AreTheSameOnEveryDeviceAndInARecord) {
  std::vector<std::vector<float>> losses;
  std::vector<std::vector<std::int64_t>> drawn;
  for (const Device device : devices()) {
    Times times(TimeDistribution::loss, Schedule::linear(3), device);
    Recorded step(device, [&](std::span<const Tensor> in) -> std::vector<Tensor> {
      const Tensor t = times.draw(Rng(1, Purpose::timestep, in[0]), 4);
      times.history()->add(t, times.importance(t));
      return {t};
    });
    std::vector<std::int64_t> all;
    for (std::int64_t k = 0; k < 20; ++k) {
      const Tensor t = step({Tensor::from<std::int64_t>({}, {k})})[0].to(Device::cpu);
      all.insert(all.end(), t.values<std::int64_t>().begin(), t.values<std::int64_t>().end());
    }
    drawn.push_back(all);
    const Tensor kept = times.history()->losses.to(Device::cpu);
    losses.emplace_back(kept.values<float>().begin(), kept.values<float>().end());
  }
  for (std::size_t d = 0; d < drawn.size(); ++d) {
    EXPECT_EQ(drawn[d], drawn[0]);
    EXPECT_EQ(losses[d], losses[0]);
  }
  EXPECT_GT(losses[0].size(), 0U);
}

}  // namespace
}  // namespace sfumato::diffusion
