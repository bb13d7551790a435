// Points in the plane instead of pictures, and in place of a network the best answer there is: so that the samplers of
// exercises 4, 5, 6 and 12 have something to draw without training.
#pragma once
#include <string>
#include <vector>

#include "diffusion/gaussian.h"

namespace exercises {

struct Points {
  std::vector<double> x, y;
};

using Mixture = std::vector<sfumato::diffusion::Gaussian>;

inline constexpr std::size_t kHeaps = 5;

// The data: five round heaps on a circle of radius 1.3, σ = 0.1 each; or of heap `only` alone.
Mixture heaps();
Mixture heap(std::size_t only, double sigma = 0.1);

// n points ~ N(0, I), the same for the same seed.
Points normal_points(std::uint64_t seed, std::size_t n);

// E[ε | x_t]: what a perfect network, trained on these data, answers at this noise level.
Points best_answer(const Points& x_t, const sfumato::diffusion::NoiseLevel& level,
                   const Mixture& data);

// Prints them beside each other, a line of text under each.
void print(const std::vector<Points>& points, const std::vector<std::string>& captions);

// "in the heaps: 198, 205, ..., elsewhere: 3", where a point belongs to a heap within 4 σ.
std::string count_heaps(const Points& points);

// The points' standard deviation about the centre of the nearest heap, along one axis; the data's is 0.1.
double spread(const Points& points);

}  // namespace exercises
