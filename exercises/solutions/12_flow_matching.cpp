#include "12_flow_matching/exercise.h"

double flow_point(double x0, double eps, double t) { return (1 - t) * x0 + t * eps; }

double flow_velocity(double x0, double eps) { return eps - x0; }

double flow_step(double x, double velocity, double t, double t_to) {
  return x + (t_to - t) * velocity;
}

// x0 = eps − velocity, so x = (1−t) (eps − velocity) + t eps = eps − (1−t) velocity.
double noise_from_velocity(double x, double velocity, double t) { return x + (1 - t) * velocity; }
