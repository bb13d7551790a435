// β from a formula of ᾱ, for schedules that papers and `diffusers` define so.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace sfumato::diffusion {

// β_t = 1 − ᾱ((t+1)/T) / ᾱ(t/T), cut at 0.999. Improved DDPM (Nichol & Dhariwal 2021), section 3.2.
template <class F>
std::vector<double> betas_of(std::int64_t steps, F alpha_bar) {
  std::vector<double> beta;
  const auto T = static_cast<double>(steps);
  for (std::int64_t i = 0; i < steps; ++i) {
    const auto t = static_cast<double>(i);
    beta.push_back(std::min(1 - alpha_bar((t + 1) / T) / alpha_bar(t / T), 0.999));
  }
  return beta;
}

}  // namespace sfumato::diffusion
