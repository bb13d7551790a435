// The measures of `sfumato evaluate`: a row each, of metric.cpp. A new one is defined there and named in the two lists below.
#pragma once
#include <cstdint>
#include <functional>
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

// What sets are compared with.
struct Real {
  Tensor
      test;  // f32 [M, D], features of pictures that neither the model nor the classifier has seen
  Tensor sample;    // as many of them, chosen at random, as the sets have pictures; or all
  Tensor training;  // u8 [K,H,W,C], the pictures that the model has seen
};

// With so many resamples for the interval where it is a bootstrap's; 0: without. Called from one thread at a time.
using Measure = std::function<Estimate(const Judged& set, std::int64_t resamples)>;

struct Metric {
  std::string_view name, help;
  // What can be computed of the real pictures is computed here, once for all sets.
  Measure (*against)(const Real& real);
  std::string_view unit = "";  // "%" or nothing
  // A distance: 0 for the same distribution, above it for a finite sample, and told as a multiple of what real pictures have.
  bool of_floor = false;
  bool needs_labels = false;
  bool by_default = true;  // false: it takes long
  // The floor is that of test pictures, since training pictures would be compared with themselves.
  bool floor_of_test = false;

  static const Metric agreement, fd, kid, mind, precision, recall, density, coverage, copied;
  static constexpr const Metric* all[] = {&agreement, &fd,      &kid,      &mind,  &precision,
                                          &recall,    &density, &coverage, &copied};
};

}  // namespace sfumato::eval
