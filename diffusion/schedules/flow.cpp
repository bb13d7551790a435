// x_t = (1 − t) x_0 + t ε, the straight line from a picture to noise, at even t. Flow matching (Lipman 2022, with σ_min = 0),
// rectified flow (Liu 2022).
#include <cmath>

#include "diffusion/schedule.h"

namespace sfumato::diffusion {
namespace {

double flow_log_snr(double t) { return 2 * std::log((1 - t) / t); }  // −∞ at t = 1

}  // namespace

const BetaSchedule BetaSchedule::flow = {.name = "flow",
                                         .diffusers = "flow",
                                         .help = "(1 - t) x_0 + t ε, flow matching's line",
                                         .log_snr = flow_log_snr,
                                         .path = &Path::flow};

}  // namespace sfumato::diffusion
