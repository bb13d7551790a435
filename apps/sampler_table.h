// `evaluate --table samplers`: every sampler at the same numbers of evaluations of the network.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/generate.h"
#include "diffusion/pipeline.h"
#include "tensor/tensor.h"

namespace sfumato::apps {

// The columns, up to the number that is asked for.
inline constexpr std::int64_t kEvaluations[] = {1, 2, 4, 5, 8, 10, 20, 50, 250};

// A sampler in as many steps as that many evaluations allow (0: the steps were asked for).
struct SamplerCell {
  diffusion::Sampler sampler;
  std::int64_t evaluations, steps;
  bool adds_noise = false;  // in many steps: `restart` does not in few
};
// Row by row, with at most `most` evaluations. Samplers that choose their steps themselves have none, nor have those that
// are another's under the name that it has in another process; and none is there for what a sampler cannot do in one step.
std::vector<SamplerCell> sampler_cells(const diffusion::Pipeline& model, std::int64_t most);

// Where the probability flow takes the noise of these drawings: Heun's method with the largest of kEvaluations, u8 [N,H,W,C].
Tensor pictures_of_flow(const diffusion::Pipeline& model, diffusion::GenerateOptions options);

// How far pictures are from those of the same shape: the root of the mean square of a pixel in [−1, 1].
double distance(const Tensor& pictures, const Tensor& others);

struct SamplerResult {
  SamplerCell cell;
  std::optional<double> agreement;  // in per cent
  double of_floor;                  // Fréchet distance
  std::optional<double> from_flow;  // distance; none of a sampler that adds noise
};
inline constexpr const char* kCellHelp =
    "read as asked, Fréchet distance over that of real pictures, and (where no noise is added) "
    "root mean square distance from the end of the probability flow";
// As Markdown.
std::string sampler_table(const std::vector<SamplerResult>& results);

}  // namespace sfumato::apps
