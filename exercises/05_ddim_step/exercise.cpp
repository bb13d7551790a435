// Exercise 5: DDIM's step, which may be long. Read README.md beside this file first.
#include "exercise.h"

#include <cmath>

std::vector<int> times(int T, int K) {
  std::vector<int> list;
  for (int i = 0; i < K; ++i) {
    int t = your_code("time number i: for T = 1000 and K = 4 they are 999, 749, 499, 249");
    list.push_back(t);
  }
  return list;
}

double ddim_sigma(double alpha_bar, double alpha_bar_to, double eta) {
  return your_code("eta times the posterior's σ, from ᾱ to ᾱ_to: the formula for σ");
}

double ddim_step(double x_t, double eps, double alpha_bar, double alpha_bar_to, double eta,
                 double z) {
  double sigma = ddim_sigma(alpha_bar, alpha_bar_to, eta);
  double x0 = your_code("the estimate x̂_0 of the picture");
  double direction = your_code("what the old noise eps is multiplied by: √(1 − ᾱ_to − σ²)");
  return your_code("the picture shrunk for its new level, plus the old noise, plus new noise");
}
