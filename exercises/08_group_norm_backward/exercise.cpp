// Exercise 8: GroupNorm's backward pass. Read README.md beside this file first.
#include "exercise.h"

#include <cmath>

GroupNormGradients group_norm_backward(const std::vector<double>& x, int channels,
                                       const std::vector<double>& gamma,
                                       const std::vector<double>& dy, double eps) {
  int n = x.size();
  double mean = 0, variance = 0;
  for (int i = 0; i < n; ++i) mean += x[i] / n;
  for (int i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean) / n;
  double r = 1 / std::sqrt(variance + eps);  // x̂ = (x − mean) r

  GroupNormGradients gradients;
  gradients.dgamma = std::vector<double>(channels);  // zeros
  gradients.dbeta = std::vector<double>(channels);
  double mean_g = 0, mean_g_xhat = 0;  // over all i, of g and of g x̂
  for (int i = 0; i < n; ++i) {
    int c = i % channels;
    double xhat = (x[i] - mean) * r;
    double to_dbeta = your_code("what element i adds to dL/dβ_c");
    double to_dgamma = your_code("what element i adds to dL/dγ_c");
    gradients.dbeta[c] += to_dbeta;
    gradients.dgamma[c] += to_dgamma;
    double g = your_code("dL/dx̂_i, from dy[i]");
    mean_g += g / n;
    mean_g_xhat += g * xhat / n;
  }
  for (int i = 0; i < n; ++i) {
    int c = i % channels;
    double xhat = (x[i] - mean) * r;
    double g = your_code("dL/dx̂_i again");
    double dx_i = your_code("dL/dx_i: r times (g, less its mean, less x̂ times the mean of g x̂)");
    gradients.dx.push_back(dx_i);
  }
  return gradients;
}
