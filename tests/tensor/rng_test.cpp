#include "tensor/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "tensor/parallel.h"

namespace sfumato {
namespace {

using Block = std::array<std::uint32_t, 4>;

// Known answers: Random123's kat_vectors, philox4x32 with 10 rounds.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// One hash over many normals pins the bits for every compiler and machine.
TEST(Rng, NormalsAreTheSameBitsEverywhere) {
  const Tensor z = Rng(42, Purpose::noise, 7).normal({1 << 16});
  std::uint64_t hash = 1469598103934665603ull;  // FNV-1a over the words
  for (float v : z.values<float>())
    hash = (hash ^ std::bit_cast<std::uint32_t>(v)) * 1099511628211ull;
  EXPECT_EQ(hash, 10145973757514692860ull);
}

// Moments of N(0,1) over n = 2^22 numbers, each within 6 standard errors (one false alarm in 10^8).
TEST(Rng, NormalsHaveTheMomentsOfTheNormalDistribution) {
  const Tensor z = Rng(1).normal({1 << 22});
  const double n = static_cast<double>(z.size());
  double m[5] = {};
  std::int64_t beyond2 = 0;
  for (float v : z.values<float>()) {
    double p = 1;
    for (double& sum : m) sum += p, p *= v;
    beyond2 += std::abs(v) > 2;
  }
  EXPECT_LT(std::abs(m[1] / n), 6 * std::sqrt(1 / n));
  EXPECT_LT(std::abs(m[2] / n - 1), 6 * std::sqrt(2 / n));
  EXPECT_LT(std::abs(m[3] / n), 6 * std::sqrt(15 / n));
  EXPECT_LT(std::abs(m[4] / n - 3), 6 * std::sqrt(96 / n));
  const double tail = std::erfc(std::sqrt(2.0));
  EXPECT_LT(std::abs(beyond2 / n - tail), 6 * std::sqrt(tail * (1 - tail) / n));
}

// Kolmogorov-Smirnov against Φ: the distance stays below the quantile of a false alarm in 10^8.
TEST(Rng, NormalsFollowTheDistributionFunction) {
  Tensor z = Rng(2).normal({1 << 18});
  auto v = z.values<float>();
  std::sort(v.begin(), v.end());
  const double n = static_cast<double>(v.size());
  double distance = 0;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const double cdf = 0.5 * std::erfc(-v[i] / std::sqrt(2.0));
    distance = std::max({distance, std::abs(cdf - i / n), std::abs(cdf - (i + 1) / n)});
  }
  EXPECT_LT(distance, std::sqrt(std::log(2 / 1e-8) / 2 / n));
}

TEST(Rng, NeighboursAndStreamsAreUncorrelated) {
  const std::int64_t n = 1 << 20;
  const Tensor a = Rng(3, Purpose::noise, 0).normal({n}), b = Rng(3, Purpose::noise, 1).normal({n});
  const Tensor c = Rng(3, Purpose::timestep, 0).normal({n}),
               d = Rng(4, Purpose::noise, 0).normal({n});
  auto correlation = [&](const float* x, const float* y, std::int64_t count) {
    return std::inner_product(x, x + count, y, 0.0) / static_cast<double>(count);
  };
  const float* p = a.data<float>();
  const double limit = 6 / std::sqrt(static_cast<double>(n - 4));
  for (int lag = 1; lag <= 4; ++lag)
    EXPECT_LT(std::abs(correlation(p, p + lag, n - lag)), limit) << lag;
  for (const Tensor& other : {b, c, d})
    EXPECT_LT(std::abs(correlation(p, other.data<float>(), n)), limit);
}

TEST(Rng, DoesNotDependOnThreads) {
  const int threads = thread_count();
  set_thread_count(1);
  const Tensor one = Rng(5).normal({100003});
  for (int n : {2, 3}) {
    set_thread_count(n);
    const Tensor many = Rng(5).normal({100003});
    EXPECT_TRUE(std::ranges::equal(one.values<float>(), many.values<float>()));
  }
  set_thread_count(threads);
}

TEST(Rng, ConsecutiveDrawsDiffer) {
  Rng rng(6);
  const Tensor a = rng.normal({5}), b = rng.normal({5});
  EXPECT_FALSE(std::ranges::equal(a.values<float>(), b.values<float>()));
}

TEST(Rng, UniformsFillTheirRange) {
  const Tensor u = Rng(7).uniform({1 << 20});
  double sum = 0;
  for (float v : u.values<float>()) {
    ASSERT_GE(v, 0.0f);
    ASSERT_LT(v, 1.0f);
    sum += v;
  }
  EXPECT_NEAR(sum / (1 << 20), 0.5, 6 * std::sqrt(1.0 / 12 / (1 << 20)));
}

// χ² over 10 cells with 9 degrees of freedom: 60 is exceeded once in 10^9.
TEST(Rng, IntegersAreEquallyLikely) {
  const std::int64_t n = 1 << 20;
  std::array<double, 10> cells{};
  const Tensor k = Rng(8).randint({n}, 10);
  for (std::int64_t v : k.values<std::int64_t>()) ++cells.at(static_cast<std::size_t>(v));
  double chi2 = 0;
  for (double c : cells) chi2 += (c - n / 10.0) * (c - n / 10.0) / (n / 10.0);
  EXPECT_LT(chi2, 60);
  EXPECT_THROW(Rng(8).randint({1}, 0), Error);
}

TEST(Rng, AnIndexThatIsATensorIsReadWhenNumbersAreDrawn) {
  Tensor index = Tensor::from<std::int64_t>({}, {5});
  const Rng plain(10, Purpose::dropout, index), lane(10, Purpose::dropout, index, 3, 12);
  for (const std::int64_t k : {5, 9}) {
    index.data<std::int64_t>()[0] = k;
    const auto step = static_cast<std::uint64_t>(k);
    const auto draw = [](Rng rng) { return rng.randint({5}, 1000); };
    const auto same = [](const Tensor& a, const Tensor& b) {
      return std::ranges::equal(a.values<std::int64_t>(), b.values<std::int64_t>());
    };
    EXPECT_TRUE(same(draw(plain), draw(Rng(10, Purpose::dropout, step))));
    EXPECT_TRUE(same(draw(lane), draw(Rng(10, Purpose::dropout, step << 12 | 3))));
  }
}

}  // namespace
}  // namespace sfumato
