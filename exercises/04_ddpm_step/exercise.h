// Exercise 4: what you write in exercise.cpp.
#pragma once
#include <vector>

#include "common/your_code.h"

// The mean of q(x_{t−1} | x_t, x_0). `alpha_bar` is ᾱ_t, `alpha_bar_before` is ᾱ_{t−1}.
double posterior_mean(double x0, double x_t, double alpha_bar_before, double alpha_bar);

// Its standard deviation √β̃_t.
double posterior_sigma(double alpha_bar_before, double alpha_bar);

// One step of DDPM on one pixel: x_{t−1} from x_t, the network's answer eps, and a random number z ~ N(0, 1).
// `alpha_bar` holds ᾱ_0, ..., ᾱ_{T−1}; before t = 0 there is the picture itself, with ᾱ = 1.
double ddpm_step(double x_t, double eps, int t, const std::vector<double>& alpha_bar, double z);
