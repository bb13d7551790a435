// Sampling with a trained model: what `sample` and the pictures during training share.
#pragma once
#include <functional>
#include <vector>

#include "diffusion/pipeline.h"
#include "diffusion/sampler.h"

namespace sfumato::apps {

struct GenerateOptions {
  std::vector<std::int64_t>
      labels;  // one a picture; for an unconditional model, only their number counts
  std::int64_t steps = 20;
  diffusion::Method method = diffusion::Method::ddim;
  double eta = 0;
  double guidance = 1;  // above or below 1: needs the model's null label
  std::uint64_t seed = 0;
  std::int64_t batch = 64;  // pictures at a time
  // What the network thinks the picture is after each step, u8 [N,H,W,C]; may be empty.
  std::function<void(std::int64_t step, const Tensor& pictures)> on_step;
};

// 2 where a model was trained for guidance, else 1. Models of ε need x̂_0 clipped, and clipped DDIM
// steps get worse with guidance (docs/performance.md): 1 for them as well.
double default_guidance(const diffusion::Pipeline& model);

// -> u8 [N,H,W,C]. Throws Error for labels the model does not know.
Tensor generate(const diffusion::Pipeline& model, const GenerateOptions& options);

}  // namespace sfumato::apps
