// Pictures for what the exercises show: digits of MNIST, and drawings made of letters.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace exercises {

using Picture = std::vector<double>;  // 28 x 28 numbers in [-1, 1], row after row

// Test pictures of MNIST, the first `count`. Throws Error when data/mnist is not in the repository.
std::vector<Picture> digits(std::size_t count);

// Independent numbers ~ N(0, 1), the same for the same seed.
std::vector<double> normal_numbers(std::uint64_t seed, std::size_t count);

// Prints the pictures beside each other, a line of text under each.
void print(const std::vector<Picture>& pictures, const std::vector<std::string>& captions);

// The same for points (x, y) in [-extent, extent]²: how many there are at each place.
void print_points(const std::vector<std::vector<double>>& xs,
                  const std::vector<std::vector<double>>& ys, double extent,
                  const std::vector<std::string>& captions);

}  // namespace exercises
