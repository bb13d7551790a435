// Exercise 2: all steps at once, by induction. Read README.md beside this file first.
#include "exercise.h"

#include <cmath>

double sigma_of_sum(double sigma_a, double sigma_b) {
  return your_code("the standard deviation of the sum of two independent Gaussians");
}

Merged one_more_step(Merged before, double alpha) {
  Merged after;
  after.signal = your_code("what stands before x_0 after the step; before it, before.signal did");
  after.variance =
      your_code("the variance of all noise: the old one, shrunk by the step, and the new");
  return after;
}

double q_sample(double x0, double alpha_bar, double eps) {
  return your_code("x_t from x_0 in one step, with ᾱ_t");
}
