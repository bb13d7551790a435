// Exercise 1: the schedule, and one step of noise. Read README.md beside this file first.
#include "exercise.h"

#include <cmath>

std::vector<double> betas(int T, double first, double last) {
  std::vector<double> beta;
  for (int t = 0; t < T; ++t) {
    double beta_t = your_code("β_t: `first` at t = 0, `last` at t = T−1, evenly spaced between");
    beta.push_back(beta_t);  // what .append is in Python
  }
  return beta;
}

std::vector<double> alpha_bars(const std::vector<double>& beta) {
  std::vector<double> alpha_bar;
  double product = 1;
  for (double beta_t : beta) {
    product = your_code("the product of all α up to this one, where α_t = 1 − β_t");
    alpha_bar.push_back(product);
  }
  return alpha_bar;
}

double q_step(double x_before, double alpha, double eps) {
  return your_code("x_t: the pixel shrunk by √α, plus noise of variance 1 − α");
}
