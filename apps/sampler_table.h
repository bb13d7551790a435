// `evaluate --table samplers`: every sampler at the same numbers of evaluations of the network.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"

namespace sfumato::apps {

// The columns.
inline constexpr std::int64_t kEvaluations[] = {1, 2, 4, 5, 8, 10, 20, 50};

// A sampler in as many steps as that many evaluations allow (0: the steps were asked for).
struct SamplerCell {
  diffusion::Sampler sampler;
  std::int64_t evaluations, steps;
};
// Row by row. Samplers that choose their steps themselves have none, and none is there for what a sampler cannot do in one
// step.
std::vector<SamplerCell> sampler_cells(const diffusion::Pipeline& model);

struct SamplerResult {
  SamplerCell cell;
  std::optional<double> agreement;  // in per cent
  double of_floor;
};
// As Markdown.
std::string sampler_table(const std::vector<SamplerResult>& results);

}  // namespace sfumato::apps
