// Couplings of pictures and noises within a batch.
#include "diffusion/coupling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "tensor/error.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::max_difference;

double cost_of(const std::vector<double>& cost, const std::vector<std::int64_t>& order) {
  double sum = 0;
  for (std::size_t i = 0; i < order.size(); ++i)
    sum += cost[i * order.size() + static_cast<std::size_t>(order[i])];
  return sum;
}

TEST(Coupling, AssignmentIsTheCheapestOfAllOrders) {
  for (std::int64_t n = 0; n <= 6; ++n)
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const Tensor numbers = Rng(seed, Purpose::noise).normal({n * n}, DType::f64);
      std::vector<double> cost;  // some whole numbers, so that several orders cost the same
      for (const double c : numbers.values<double>())
        cost.push_back(seed % 2 ? std::round(2 * c) : c);
      std::vector<std::int64_t> order(static_cast<std::size_t>(n));
      std::iota(order.begin(), order.end(), 0);
      double least = cost_of(cost, order);
      while (std::next_permutation(order.begin(), order.end()))
        least = std::min(least, cost_of(cost, order));
      std::vector<std::int64_t> got = assignment(cost, n);
      EXPECT_NEAR(cost_of(cost, got), least, 1e-12) << n << ' ' << seed;
      std::sort(got.begin(), got.end());
      std::iota(order.begin(), order.end(), 0);
      EXPECT_EQ(got, order);
    }
}

TEST(Coupling, AssignmentRefusesWhatHasNoCheapestOrder) {
  for (const std::vector<double>& cost : {std::vector<double>{1, 2, 3}, {1, 2, 3, NAN}}) try {
      assignment(cost, 2);
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("expected 2 x 2 finite costs"), std::string::npos);
    }
}

// On a line the cheapest coupling is the sorted one.
TEST(Coupling, OptimalTransportOnALineKeepsTheOrder) {
  const Tensor x0 = Rng(1, Purpose::noise).normal({50, 1});
  const Tensor eps = Rng(2, Purpose::noise).normal({50, 1});
  const Tensor pairs = coupled(Coupling::optimal_transport, x0, eps, {});
  for (std::int64_t i = 0; i < 50; ++i)
    for (std::int64_t j = 0; j < 50; ++j)
      EXPECT_EQ(x0.data<float>()[i] < x0.data<float>()[j],
                pairs.data<float>()[i] < pairs.data<float>()[j]);
}

TEST(Coupling, NoisesStayWithTheirLabelAndNoneIsLost) {
  const Tensor x0 = Rng(3, Purpose::noise).normal({12, 2, 2, 1});
  const Tensor eps = Rng(4, Purpose::noise).normal({12, 2, 2, 1});
  const Tensor labels = Tensor::from<std::int64_t>({12}, {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 5});
  const Tensor pairs = coupled(Coupling::optimal_transport, x0, eps, labels);
  std::vector<std::int64_t> taken;
  for (std::int64_t i = 0; i < 12; ++i)
    for (std::int64_t j = 0; j < 12; ++j)
      if (max_difference(pairs.slice(i, i + 1), eps.slice(j, j + 1)) == 0) {
        taken.push_back(j);
        EXPECT_EQ(labels.data<std::int64_t>()[i], labels.data<std::int64_t>()[j]);
      }
  std::sort(taken.begin(), taken.end());
  std::vector<std::int64_t> all(12);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(taken, all);
  EXPECT_NE(max_difference(pairs, eps), 0);
  EXPECT_EQ(max_difference(coupled(Coupling::independent, x0, eps, labels), eps), 0);
}

}  // namespace
}  // namespace sfumato::diffusion
