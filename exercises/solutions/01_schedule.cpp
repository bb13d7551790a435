#include <cmath>

#include "01_schedule/exercise.h"

std::vector<double> betas(int T, double first, double last) {
  std::vector<double> beta;
  for (int t = 0; t < T; ++t) {
    // t is made a double first: 3 / 999 of two integers is 0 in C++.
    double beta_t = first + (last - first) * double(t) / (T - 1);
    beta.push_back(beta_t);
  }
  return beta;
}

std::vector<double> alpha_bars(const std::vector<double>& beta) {
  std::vector<double> alpha_bar;
  double product = 1;
  for (double beta_t : beta) {
    product = product * (1 - beta_t);
    alpha_bar.push_back(product);
  }
  return alpha_bar;
}

double q_step(double x_before, double alpha, double eps) {
  return std::sqrt(alpha) * x_before + std::sqrt(1 - alpha) * eps;
}
