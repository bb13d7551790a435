// Which times a training step shows the network. DDPM draws each timestep equally often; where pictures are decided,
// in the middle, others draw more.
#pragma once
#include <string_view>
#include <vector>

#include "diffusion/schedule.h"
#include "tensor/rng.h"
#include "tensor/tensor.h"

namespace sfumato::diffusion {

// A distribution of timesteps: a row of times.cpp. A new one is defined there and named in the two lists below.
struct TimeDistribution {
  std::string_view name, help;
  // The share of draws at timesteps 0..t, for t = 0..T−1; the last is 1. Null: each timestep equally often.
  std::vector<double> (*cumulative)(const Schedule& schedule) = nullptr;
  // Image i of N is drawn from the i-th of N equal parts of the distribution: a batch is spread over all times.
  bool stratified = false;

  static const TimeDistribution uniform, stratified_uniform, logit_normal, edm;
  static constexpr const TimeDistribution* all[] = {&uniform, &stratified_uniform, &logit_normal,
                                                    &edm};

  bool operator==(const TimeDistribution& other) const { return name == other.name; }
};

// The draws of one run. Const calls are safe from any thread.
class Times {
 public:
  Times(const TimeDistribution& distribution, const Schedule& schedule);

  // i64 [n] in 0..T−1, on the device of `rng`, a function of its address alone.
  Tensor draw(Rng rng, std::int64_t n) const;

 private:
  bool stratified_;
  std::int64_t steps_;
  Tensor cumulative_;  // f64 [T]; undefined: uniform
};

}  // namespace sfumato::diffusion
