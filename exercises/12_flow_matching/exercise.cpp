// Exercise 12: flow matching. Read README.md beside this file first.
#include "exercise.h"

double flow_point(double x0, double eps, double t) {
  return your_code("the point on the line: x0 at t = 0, eps at t = 1");
}

double flow_velocity(double x0, double eps) {
  return your_code("the derivative of flow_point with respect to t");
}

double flow_step(double x, double velocity, double t, double t_to) {
  return your_code("x, moved along the velocity for the time from t to t_to");
}

double noise_from_velocity(double x, double velocity, double t) {
  return your_code("eps, from x = (1−t) x0 + t eps and velocity = eps − x0");
}
