// The choices of DPMSolverMultistepScheduler that its samplers here have in common (Sampler::settings).
#pragma once
#define DPM_SOLVER_SETTINGS                                                                     \
  {"solver_type", R"("midpoint")"}, {"lower_order_final", "true"}, {"euler_at_final", "false"}, \
      {"final_sigmas_type", R"("zero")"}, {"use_beta_sigmas", "false"},                         \
      {"use_flow_sigmas", "false"}, {"flow_shift", "1.0"}, {"lambda_min_clipped", "null"},      \
      {"use_dynamic_shifting", "false"}, {"time_shift_type", R"("exponential")"}, {             \
    "variance_type", "null"                                                                     \
  }
