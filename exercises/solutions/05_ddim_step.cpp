#include <cmath>

#include "05_ddim_step/exercise.h"

std::vector<int> times(int T, int K) {
  std::vector<int> list;
  for (int i = 0; i < K; ++i) {
    int t = T - 1 - i * (T / K);
    list.push_back(t);
  }
  return list;
}

double ddim_sigma(double alpha_bar, double alpha_bar_to, double eta) {
  double beta = 1 - alpha_bar / alpha_bar_to;
  return eta * std::sqrt((1 - alpha_bar_to) / (1 - alpha_bar) * beta);
}

double ddim_step(double x_t, double eps, double alpha_bar, double alpha_bar_to, double eta,
                 double z) {
  double sigma = ddim_sigma(alpha_bar, alpha_bar_to, eta);
  double x0 = (x_t - std::sqrt(1 - alpha_bar) * eps) / std::sqrt(alpha_bar);
  double direction = std::sqrt(1 - alpha_bar_to - sigma * sigma);
  return std::sqrt(alpha_bar_to) * x0 + direction * eps + sigma * z;
}
