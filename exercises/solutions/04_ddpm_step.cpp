#include <cmath>

#include "04_ddpm_step/exercise.h"

double posterior_mean(double x0, double x_t, double alpha_bar_before, double alpha_bar) {
  double alpha = alpha_bar / alpha_bar_before;
  double beta = 1 - alpha;
  double weight_of_x0 = std::sqrt(alpha_bar_before) * beta / (1 - alpha_bar);
  double weight_of_x_t = std::sqrt(alpha) * (1 - alpha_bar_before) / (1 - alpha_bar);
  return weight_of_x0 * x0 + weight_of_x_t * x_t;
}

double posterior_sigma(double alpha_bar_before, double alpha_bar) {
  double beta = 1 - alpha_bar / alpha_bar_before;
  return std::sqrt((1 - alpha_bar_before) / (1 - alpha_bar) * beta);
}

double ddpm_step(double x_t, double eps, int t, const std::vector<double>& alpha_bar, double z) {
  double before = 1;
  if (t > 0) {
    before = alpha_bar[t - 1];
  }
  double x0 = (x_t - std::sqrt(1 - alpha_bar[t]) * eps) / std::sqrt(alpha_bar[t]);
  return posterior_mean(x0, x_t, before, alpha_bar[t]) + posterior_sigma(before, alpha_bar[t]) * z;
}
