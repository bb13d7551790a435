// A training loop without a run's folder: for labs, tests and small networks.
#pragma once
#include <cstdint>
#include <functional>

#include "nn/optim.h"
#include "nn/params.h"

namespace sfumato::nn {

struct FitOptions {
  std::int64_t steps = 1000, warmup = 50;
  double lr = 2e-3,
         lr_floor = 0.02;  // after the warm-up, and the share of it that the half cosine ends at
  double clip = 1;         // largest norm of the gradient
  AdamWOptions adam = {};
  double ema = 0.999;  // decay of the weights' moving average; 0: none is kept
  // Called after step k (0..steps−1) with its loss, which it may read; may be empty. The weights are then those of the
  // step, not their average.
  std::function<void(std::int64_t k, double loss)> on_step = {};
  // The learning rate of step k, instead of the warm-up and the half cosine; may be empty.
  std::function<double(std::int64_t k)> rate = {};
  // Whether to go on; asked before each step. Empty: always.
  std::function<bool()> should_continue = {};
};

// AdamW on loss(k) -> [], the loss of step k, for k = 0..steps−1. Afterwards the parameters hold their moving average.
// Throws Error where a loss is not finite.
void fit(Params& params, const FitOptions& options, const std::function<Var(std::int64_t k)>& loss);

}  // namespace sfumato::nn
