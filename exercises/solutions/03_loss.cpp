#include <cmath>

#include "03_loss/exercise.h"

double mean_squared_error(const Picture& a, const Picture& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return sum / a.size();
}

double loss(const Picture& x0, const std::vector<double>& alpha_bar, const Network& network,
            const Random& random) {
  int T = alpha_bar.size();
  int t = random.integer(T);
  Picture eps = random.normals(x0.size());

  Picture x_t(x0.size());
  for (std::size_t i = 0; i < x0.size(); ++i) {
    x_t[i] = std::sqrt(alpha_bar[t]) * x0[i] + std::sqrt(1 - alpha_bar[t]) * eps[i];
  }
  Picture answer = network(x_t, t);
  return mean_squared_error(answer, eps);
}

Picture picture_from_noise(const Picture& x_t, double alpha_bar, const Picture& eps) {
  Picture x0(x_t.size());
  for (std::size_t i = 0; i < x_t.size(); ++i) {
    x0[i] = (x_t[i] - std::sqrt(1 - alpha_bar) * eps[i]) / std::sqrt(alpha_bar);
  }
  return x0;
}
