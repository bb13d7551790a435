// Exercise 5: what you write in exercise.cpp.
#pragma once
#include <vector>

#include "common/your_code.h"

// K of the times 0 .. T−1, from the last one down in steps of T / K: for T = 1000 and K = 4: 999, 749, 499, 249.
// K divides T.
std::vector<int> times(int T, int K);

// σ of a DDIM step from a time with ᾱ = alpha_bar to an earlier one with ᾱ = alpha_bar_to: eta = 0 for none, eta = 1
// for DDPM's.
double ddim_sigma(double alpha_bar, double alpha_bar_to, double eta);

// One DDIM step on one pixel, of any length. eps is the network's answer about x_t; z ~ N(0, 1).
double ddim_step(double x_t, double eps, double alpha_bar, double alpha_bar_to, double eta,
                 double z);
