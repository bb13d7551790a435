// Exercise 4: DDPM's step, from noise towards a picture. Read README.md beside this file first.
#include "exercise.h"

#include <cmath>

double posterior_mean(double x0, double x_t, double alpha_bar_before, double alpha_bar) {
  double alpha = alpha_bar / alpha_bar_before;  // α_t, as ᾱ_t = ᾱ_{t−1} α_t
  double beta = 1 - alpha;
  double weight_of_x0 = your_code("√ᾱ_{t−1} β_t / (1−ᾱ_t)");
  double weight_of_x_t = your_code("√α_t (1−ᾱ_{t−1}) / (1−ᾱ_t)");
  return weight_of_x0 * x0 + weight_of_x_t * x_t;
}

double posterior_sigma(double alpha_bar_before, double alpha_bar) {
  return your_code("√β̃_t: the square root of the posterior's variance");
}

double ddpm_step(double x_t, double eps, int t, const std::vector<double>& alpha_bar, double z) {
  double before = 1;  // ᾱ_{t−1}
  if (t > 0) {
    before = alpha_bar[t - 1];
  }
  double x0 = your_code("the estimate x̂_0 of the picture, from x_t and eps: exercise 3");
  return your_code("the posterior's mean, with x̂_0 for x_0, plus its σ times z");
}
