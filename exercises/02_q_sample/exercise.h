// Exercise 2: what you write in exercise.cpp.
#pragma once
#include "common/your_code.h"

// What is known of x after some steps of noise: x = signal · x_0 + √variance · ε̄ with one ε̄ ~ N(0, 1).
struct Merged {
  double signal, variance;
};

// The standard deviation of a + b, for independent a ~ N(0, sigma_a²) and b ~ N(0, sigma_b²).
double sigma_of_sum(double sigma_a, double sigma_b);

// The step of the induction: what is known after one more step, x_t = √α x_{t−1} + √(1−α) ε.
Merged one_more_step(Merged before, double alpha);

// All steps at once on one pixel: x_t of x_0. `alpha_bar` is ᾱ_t; `eps` is a random number ~ N(0, 1).
double q_sample(double x0, double alpha_bar, double eps);
