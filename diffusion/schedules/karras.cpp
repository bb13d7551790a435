// σ up to 80, evenly spaced in its seventh root from 0.002, which is karras' level before t = 0 and edm's at t = 0. EDM
// (Karras 2022), eq. 5.
#include <cmath>

#include "diffusion/schedule.h"

namespace sfumato::diffusion {
namespace {

double karras_log_snr(double u) {
  constexpr double kMin = 0.002, kMax = 80, kRho = 7;
  const double low = std::pow(kMin, 1 / kRho), high = std::pow(kMax, 1 / kRho);
  return -2 * kRho * std::log(low + u * (high - low));
}

}  // namespace

const BetaSchedule BetaSchedule::karras = {.name = "karras",
                                           .diffusers = "karras",
                                           .help = "EDM's: σ to 80, a = 1",
                                           .log_snr = karras_log_snr,
                                           .path = &Path::variance_exploding};

const BetaSchedule BetaSchedule::edm = {
    .name = "edm",
    .diffusers = "edm",
    .help = "karras from σ = 0.002, x_t scaled to size 1 for the network (EDM's c_in)",
    .log_snr = karras_log_snr,
    .from_zero = true,
    .path = &Path::edm};

}  // namespace sfumato::diffusion
