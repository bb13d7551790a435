// The choices of EDMEulerScheduler and EDMDPMSolverMultistepScheduler (Sampler::settings): the levels are those of
// BetaSchedule::edm, whose networks are trained for σ_data = ½.
#pragma once
#define EDM_SETTINGS                                                       \
  {"sigma_min", "0.002", false, true}, {"sigma_max", "80.0", false, true}, \
      {"sigma_data", "0.5", false, true}, {"rho", "7.0", false, true}, {   \
    "final_sigmas_type", R"("zero")"                                       \
  }
