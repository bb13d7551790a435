// Exercise 1: what you write in exercise.cpp.
#pragma once
#include <vector>

#include "common/your_code.h"

// β_0, β_1, ..., β_{T−1}: evenly spaced from `first` to `last`, both included. T is at least 2.
std::vector<double> betas(int T, double first, double last);

// ᾱ_t = α_0 α_1 ... α_t with α_t = 1 − β_t, for every t.
std::vector<double> alpha_bars(const std::vector<double>& beta);

// One step of noise on one pixel: from x_{t−1} to x_t. `alpha` is α_t; `eps` is a random number ~ N(0, 1).
double q_step(double x_before, double alpha, double eps);
