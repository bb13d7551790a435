#include "14_broken_run/exercise.h"

// The loss stays at 1, the variance of the noise, from the first line on: the answer 0 is the best there is.
Cause run_b() { return Cause::two_noises; }

// The loss is that of run a, to the last digit, so training was right. The heaps are wider: sampling.
Cause run_c() { return Cause::noise_in_last_step; }

// The loss begins in the thousands, and ends at 1: the first steps threw the weights where no gradient leads back.
Cause run_d() { return Cause::learning_rate_too_high; }

// ᾱ at the end is 0.82: most of the data is left in x_T. The sampler begins at pure noise, which the network never saw.
Cause run_e() { return Cause::schedule_too_short; }

// The gradient's norm grows and grows, while the loss does not fall.
Cause run_f() { return Cause::gradients_not_zeroed; }

// It learns, but stays above run a: what it is asked depends on t, and it answers for all t alike.
Cause run_g() { return Cause::time_not_told; }
