#include "diffusion/eval/manifold.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "tensor/parallel.h"

namespace sfumato::eval {
namespace {

// each(i, ‖x_i − y_·‖²) for all rows of x, from several threads.
template <class Each>
void for_distances(const Features& x, const Features& y, const Each& each) {
  expect_same_width("manifold", x, y);
  parallel_ranges(x.count(), 32, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> squares;
    for (std::int64_t i = begin; i < end; ++i) {
      y.distances(x.row(i), x.square(i), squares);
      each(i, squares);
    }
  });
}

// For each row of x, how many balls around the rows of `centres` hold it.
std::vector<double> balls_around(const Features& x, const Features& centres,
                                 std::int64_t neighbours) {
  const std::vector<double> radii = squared_radii(centres, neighbours);
  std::vector<double> balls(static_cast<std::size_t>(x.count()));
  for_distances(x, centres, [&](std::int64_t i, const std::vector<double>& squares) {
    for (std::size_t j = 0; j < squares.size(); ++j)
      balls[static_cast<std::size_t>(i)] += squares[j] < radii[j];
  });
  return balls;
}

Estimate share_in_balls(const Features& x, const Features& centres) {
  const std::vector<double> balls = balls_around(x, centres, kBallNeighbours);
  return share(std::count_if(balls.begin(), balls.end(), [](double n) { return n > 0; }),
               x.count());
}

}  // namespace

std::vector<double> squared_radii(const Features& x, std::int64_t neighbours) {
  std::vector<double> radii(static_cast<std::size_t>(x.count()));
  for_distances(x, x, [&](std::int64_t i, std::vector<double>& squares) {
    squares[static_cast<std::size_t>(i)] = std::numeric_limits<double>::infinity();  // itself
    std::nth_element(squares.begin(), squares.begin() + neighbours - 1, squares.end());
    radii[static_cast<std::size_t>(i)] = squares[static_cast<std::size_t>(neighbours) - 1];
  });
  return radii;
}

Estimate precision(const Tensor& drawn, const Tensor& real) {
  return share_in_balls(Features("precision", drawn),
                        Features("precision", real, kBallNeighbours + 1));
}

Estimate recall(const Tensor& drawn, const Tensor& real) {
  return share_in_balls(Features("recall", real), Features("recall", drawn, kBallNeighbours + 1));
}

Estimate density(const Tensor& drawn, const Tensor& real, std::int64_t resamples) {
  const Features y("density", drawn);
  const std::vector<double> balls =
      balls_around(y, Features("density", real, kCoverNeighbours + 1), kCoverNeighbours);
  const auto mean = [&](const Weights& w) {
    return std::transform_reduce(balls.begin(), balls.end(), w.begin(), 0.0) /
           static_cast<double>(kCoverNeighbours * y.count());
  };
  return bootstrap(mean(Weights(balls.size(), 1)), y.count(), resamples, mean);
}

Estimate coverage(const Tensor& drawn, const Tensor& real) {
  const Features x("coverage", real, kCoverNeighbours + 1), y("coverage", drawn);
  const std::vector<double> radii = squared_radii(x, kCoverNeighbours);
  std::vector<std::uint8_t> covered(radii.size());
  for_distances(x, y, [&](std::int64_t j, const std::vector<double>& squares) {
    const auto k = static_cast<std::size_t>(j);
    covered[k] = *std::min_element(squares.begin(), squares.end()) < radii[k];
  });
  return share(std::count(covered.begin(), covered.end(), 1), x.count());
}

}  // namespace sfumato::eval
