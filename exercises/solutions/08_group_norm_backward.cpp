#include <cmath>

#include "08_group_norm_backward/exercise.h"

GroupNormGradients group_norm_backward(const std::vector<double>& x, int channels,
                                       const std::vector<double>& gamma,
                                       const std::vector<double>& dy, double eps) {
  int n = x.size();
  double mean = 0, variance = 0;
  for (int i = 0; i < n; ++i) mean += x[i] / n;
  for (int i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean) / n;
  double r = 1 / std::sqrt(variance + eps);

  GroupNormGradients gradients;
  gradients.dgamma = std::vector<double>(channels);
  gradients.dbeta = std::vector<double>(channels);
  double mean_g = 0, mean_g_xhat = 0;
  for (int i = 0; i < n; ++i) {
    int c = i % channels;
    double xhat = (x[i] - mean) * r;
    gradients.dbeta[c] += dy[i];
    gradients.dgamma[c] += dy[i] * xhat;
    double g = dy[i] * gamma[c];
    mean_g += g / n;
    mean_g_xhat += g * xhat / n;
  }
  for (int i = 0; i < n; ++i) {
    int c = i % channels;
    double xhat = (x[i] - mean) * r;
    double g = dy[i] * gamma[c];
    gradients.dx.push_back(r * (g - mean_g - xhat * mean_g_xhat));
  }
  return gradients;
}
