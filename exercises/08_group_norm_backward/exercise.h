// Exercise 8: what you write in exercise.cpp.
#pragma once
#include <vector>

#include "common/your_code.h"

struct GroupNormGradients {
  std::vector<double> dx;             // as many as x
  std::vector<double> dgamma, dbeta;  // one a channel
};

// The backward pass of y = γ_c x̂ + β_c, where x̂ = (x − mean) / √(variance + eps) over all of x, one group of an image.
// Element i belongs to channel c = i % channels. dy is dL/dy, as many numbers as x.
GroupNormGradients group_norm_backward(const std::vector<double>& x, int channels,
                                       const std::vector<double>& gamma,
                                       const std::vector<double>& dy, double eps);
