// Exercise 3: what the network learns. Read README.md beside this file first.
#include "exercise.h"

#include <cmath>

double mean_squared_error(const Picture& a, const Picture& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double square = your_code("the square of the difference of a[i] and b[i]");
    sum += square;
  }
  return your_code("the mean: the sum over the number of pixels, a.size()");
}

double loss(const Picture& x0, const std::vector<double>& alpha_bar, const Network& network,
            const Random& random) {
  int T = alpha_bar.size();
  int t = your_code("a random time, 0 .. T−1: random.integer(...)");
  Picture eps = your_code("random noise, as many numbers as x0 has: random.normals(...)");

  Picture x_t(x0.size());  // as many pixels as x0, all 0 so far
  for (std::size_t i = 0; i < x0.size(); ++i) {
    x_t[i] = your_code("the formula of exercise 2 for pixel i, with alpha_bar[t]");
  }
  Picture answer = your_code("what the network says about x_t at time t: network(..., ...)");
  return your_code("the mean squared error between the answer and what it should have been");
}

Picture picture_from_noise(const Picture& x_t, double alpha_bar, const Picture& eps) {
  Picture x0(x_t.size());
  for (std::size_t i = 0; i < x_t.size(); ++i) {
    x0[i] = your_code("x_0: solve x_t = √ᾱ x_0 + √(1−ᾱ) ε for it");
  }
  return x0;
}
