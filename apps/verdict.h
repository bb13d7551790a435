// What `sfumato evaluate` says: one result, as a table to read and as JSON.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/judge.h"
#include "apps/sampler_table.h"
#include "tensor/io/json.h"

namespace sfumato::apps {

// One set of pictures. Those of a model say how they were drawn.
struct DrawnSet {
  std::string name;
  Judge::Measures measures;
  std::optional<double> guidance = {};
  std::optional<SamplerCell> drawn = {};         // sampler and steps
  std::optional<std::int64_t> evaluations = {};  // of the network, for a picture
  std::optional<double> from_flow = {};          // as in SamplerResult
};

struct Verdict {
  std::int64_t count = 0, test_pictures = 0;
  double classifier_accuracy = 0;  // in per cent, on the test pictures
  Judge::Metrics metrics;
  std::vector<Judge::Floor> floors;  // one for each metric
  std::vector<DrawnSet> sets;
};

// Of the metric in that place, as a multiple of the floor's mean.
eval::Estimate of_floor(const Verdict& verdict, const DrawnSet& set, std::size_t metric);

io::Json to_json(const Verdict& verdict);
// A line a metric, a column a set; and what the numbers are.
std::string as_text(const Verdict& verdict);
// --table samplers: agreement and Fréchet distance, which the verdict has, as Markdown.
std::string sampler_table(const Verdict& verdict);

}  // namespace sfumato::apps
