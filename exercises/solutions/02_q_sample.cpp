#include <cmath>

#include "02_q_sample/exercise.h"

double sigma_of_sum(double sigma_a, double sigma_b) {
  return std::sqrt(sigma_a * sigma_a + sigma_b * sigma_b);  // the variances add
}

Merged one_more_step(Merged before, double alpha) {
  Merged after;
  after.signal = std::sqrt(alpha) * before.signal;
  after.variance =
      alpha * before.variance + (1 - alpha);  // √α multiplies the noise: α its variance
  return after;
}

double q_sample(double x0, double alpha_bar, double eps) {
  return std::sqrt(alpha_bar) * x0 + std::sqrt(1 - alpha_bar) * eps;
}
