// The measures of `sfumato evaluate`: a row each, of metric.cpp. A new one is defined there and named in the two lists below.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "diffusion/eval/classifier.h"
#include "diffusion/eval/interval.h"
#include "tensor/tensor.h"

namespace sfumato::eval {

// A set of pictures, drawn or real, and what the classifier says of it.
struct Judged {
  Tensor pictures;  // u8 [N,H,W,C]
  Predictions predictions;
  std::vector<std::int64_t> labels;  // what each was to be; empty where nothing was asked for
};

// What sets are compared with. Not owned.
struct Real {
  const Predictions& test;  // of pictures that neither the model nor the classifier has seen
};

struct Metric {
  std::string_view name, help;
  // With so many resamples for the interval where it is a bootstrap's; 0: without.
  Estimate (*measure)(const Judged& set, const Real& real, std::int64_t resamples);
  std::string_view unit = "";  // "%" or nothing
  // A distance: 0 for the same distribution, above it for a finite sample, and told as a multiple of what real pictures have.
  bool of_floor = false;
  bool needs_labels = false;

  static const Metric agreement, fd;
  static constexpr const Metric* all[] = {&agreement, &fd};
};

}  // namespace sfumato::eval
