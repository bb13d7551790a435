// Exercise 12: what you write in exercise.cpp.
#pragma once
#include "common/your_code.h"

// The path: the point at time t, from the picture x0 at t = 0 to the noise eps at t = 1, along a straight line.
double flow_point(double x0, double eps, double t);

// What the network learns: the velocity dx/dt on that line.
double flow_velocity(double x0, double eps);

// A step of Euler's method along a velocity, from time t to time t_to. (To sample, t falls from 1 to 0.)
double flow_step(double x, double velocity, double t, double t_to);

// The same knowledge in DDPM's words: the noise in x, if the velocity at time t is known.
double noise_from_velocity(double x, double velocity, double t);
