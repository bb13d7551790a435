// Exercise 7: what you write in exercise.cpp.
#pragma once
#include <functional>

#include "common/your_code.h"

// x σ(x), where σ(x) = 1 / (1 + e^{−x}).
double silu(double x);

// dL/dx, from x and dy = dL/dy, where y = silu(x).
double silu_gradient(double x, double dy);

// df/dx at x by central differences: from f a little to the right and to the left of x.
double numerical_gradient(const std::function<double(double)>& f, double x, double h);
