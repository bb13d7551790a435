// Training over the flat parameters: AdamW, gradient clipping, moving average, learning rate. All
// state is a handful of flat tensors, saved and restored as they are.
#pragma once
#include <algorithm>
#include <string_view>
#include <vector>

#include "nn/params.h"

namespace sfumato::nn {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.99, eps = 1e-8, weight_decay = 0;
  // Matrices and filters (two axes and more) are moved by Muon (Jordan 2024) in AdamW's place, at the same learning rate.
  bool muon = false;
  double momentum = 0.9;  // Muon's
};

// What moves the weights: a row of optim.cpp.
struct Optimizer {
  std::string_view name, help;
  bool orthogonal = false;

  static const Optimizer adamw, muon;
  static constexpr const Optimizer* all[] = {&muon, &adamw};

  bool operator==(const Optimizer& other) const { return name == other.name; }
};

// ‖g‖ over all gradients together -> f64 [], where the parameters are.
Tensor gradient_norm(Params& params);
// What to multiply gradients by so that their norm is at most max_norm (PyTorch's clip_grad_norm_).
constexpr double clip_scale(double norm, double max_norm) {
  return std::min(1.0, max_norm / (norm + 1e-6));
}
// What AdamW::step is told about that.
struct Clip {
  Tensor norm = {};  // from gradient_norm; undefined: no clipping
  double max_norm = 1;
};

// Exponential moving average of the parameters, its decay warmed up: min(decay, (1+k)/(10+k)) at
// update k, as TensorFlow's ExponentialMovingAverage does.
class Ema {  // for one thread at a time, and not while the network runs
 public:
  Ema(Params& params, double decay);
  void update();
  // The rate of the next update, a += rate (w - a), which the caller does; counts it.
  double next_rate();

  Tensor average;  // [count]
  std::int64_t updates = 0;

 private:
  Params& params_;
  double decay_;
};

// Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2). With `muon`, w [out, ...] as a matrix
// [out, the rest] goes instead, by orthogonalised Nesterov momentum (muon.h),
//     m = β m + (1−β) g,    w = w − lr (0.2 √max(out, rest) orthogonalised(β m + (1−β) g) + λ w)
// where 0.2 √max(...) gives the step the size that Adam's have (Liu 2025, "Muon is scalable for LLM training", section 2.2).
class AdamW {  // for one thread at a time, and not while the network runs
 public:
  AdamW(Params& params, const AdamWOptions& options);
  // One update, and in the same pass over memory one of `ema` unless it is null, and of the parameters' copy in bf16 if
  // there is one. Where the gradient's norm is not finite, nothing changes.
  void step(double lr, const Clip& clip = {}, Ema* ema = nullptr) {
    step(rates(lr, ema), clip, ema);
  }
  // The same in two halves, for a step that is recorded (tensor/recorded.h). `rates` counts the update and returns all
  // numbers of it that change from step to step, computed in double: 1 - lr λ, lr/(1-β1^k), 1/√(1-β2^k), the rate of
  // `ema` and lr, of the parameters' dtype and on the CPU. `step` reads them where the parameters are.
  Tensor rates(double lr, Ema* ema = nullptr);
  void step(const Tensor& rates, const Clip& clip = {}, Ema* ema = nullptr);

  Tensor m, v;             // first and second moments, [count]; Muon's momentum is in m
  std::int64_t steps = 0;  // updates done

 private:
  // Parameters begin..end−1; rows > 0: a matrix of that many rows, for Muon.
  struct Part {
    std::int64_t begin, end, rows = 0;
  };
  template <bool with_copy>
  void step_with(const Tensor& rates, const Clip& clip, Ema* ema);

  Params& params_;
  AdamWOptions options_;
  std::vector<Part> parts_;
};

// While alive, the parameters hold `values` (the EMA, say); afterwards their own again.
class SwapValues {  // as AdamW
 public:
  SwapValues(Params& params, const Tensor& values);
  ~SwapValues();
  SwapValues(const SwapValues&) = delete;
  SwapValues& operator=(const SwapValues&) = delete;

 private:
  Params& params_;
  Tensor live_, saved_;
};

// Linear warm-up over `warmup` steps, then a half cosine from 1 down to `floor` at progress 1.
// progress: the share of the budget done, in [0, 1]. Returns the factor of the learning rate.
double warmup_cosine(std::int64_t step, std::int64_t warmup, double progress, double floor);

}  // namespace sfumato::nn
