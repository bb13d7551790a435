// `evaluate --table samplers`: every sampler at the same numbers of evaluations of the network.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"

namespace sfumato::apps {

// The columns, up to the number that is asked for.
inline constexpr std::int64_t kEvaluations[] = {1, 2, 4, 5, 8, 10, 20, 50, 250};

// A sampler in as many steps as that many evaluations allow (0: the steps were asked for).
struct SamplerCell {
  diffusion::Sampler sampler;
  std::int64_t evaluations, steps;
};
// Row by row, with at most `most` evaluations. Samplers that choose their steps themselves have none, nor have those that
// are another's under the name that it has in another process; and none is there for what a sampler cannot do in one step.
std::vector<SamplerCell> sampler_cells(const diffusion::Pipeline& model, std::int64_t most);

struct SamplerResult {
  SamplerCell cell;
  std::optional<double> agreement;  // in per cent
  double of_floor;
};
// As Markdown.
std::string sampler_table(const std::vector<SamplerResult>& results);

}  // namespace sfumato::apps
