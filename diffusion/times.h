// Which times a training step shows the network. DDPM draws each timestep equally often; where pictures are decided,
// in the middle, others draw more.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "diffusion/loss_history.h"
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
  // By the losses of earlier steps (loss_history.h): what is drawn more often counts less, so that the loss stays the
  // same on average.
  bool by_loss = false;

  static const TimeDistribution uniform, stratified_uniform, logit_normal, edm, loss;
  static constexpr const TimeDistribution* all[] = {&uniform, &stratified_uniform, &logit_normal,
                                                    &edm, &loss};

  bool operator==(const TimeDistribution& other) const { return name == other.name; }
};

// The draws of one run. Const calls are safe from any thread.
class Times {
 public:
  // `device`: of the history, where times are drawn by loss.
  Times(const TimeDistribution& distribution, const Schedule& schedule,
        Device device = Device::cpu);

  // i64 [n] in 0..T−1, on the device of `rng`, a function of its address and of history() alone.
  Tensor draw(Rng rng, std::int64_t n) const;
  // Where times are drawn by loss, how much the loss of each of these counts, f32 [n]; else undefined: 1.
  Tensor importance(const Tensor& t) const;
  // What learns from a step's losses, and is a part of the run's state; none where times are not drawn by loss.
  std::optional<LossHistory>& history() { return history_; }

 private:
  std::optional<LossHistory> history_;
  bool stratified_;
  std::int64_t steps_;
  Tensor cumulative_;  // f64 [T]; undefined: uniform
};

}  // namespace sfumato::diffusion
