// σ from 0.002 to 80, evenly spaced in its seventh root, of the variance-exploding process. EDM (Karras 2022), eq. 5.
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

}  // namespace sfumato::diffusion
