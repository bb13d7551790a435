// Exercise 7: the gradient of SiLU. Read README.md beside this file first.
#include "exercise.h"

#include <cmath>

double silu(double x) { return your_code("x times the sigmoid of x; std::exp(x) is e to the x"); }

double silu_gradient(double x, double dy) {
  double s = 1 / (1 + std::exp(-x));
  return your_code(
      "dL/dx: the derivative of x σ(x) by the product rule, times dy by the chain rule");
}

double numerical_gradient(const std::function<double(double)>& f, double x, double h) {
  return your_code("the slope of f between x − h and x + h");
}
