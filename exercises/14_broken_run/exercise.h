// Exercise 14: what you write in exercise.cpp.
#pragma once
#include "common/your_code.h"

// What can be wrong with a run.
enum class Cause {
  two_noises,              // x_t is made with one noise, the answer compared with another
  noise_in_last_step,      // sampling adds noise in its last step too
  learning_rate_too_high,  // each step is far too large
  schedule_too_short,      // so few steps that x_T is not yet noise
  gradients_not_zeroed,    // each step adds its gradient to those of all steps before
  time_not_told            // the network is always told t = 0
};

// The runs of runs/b.txt to runs/g.txt. (runs/a.txt is healthy.)
Cause run_b();
Cause run_c();
Cause run_d();
Cause run_e();
Cause run_f();
Cause run_g();
