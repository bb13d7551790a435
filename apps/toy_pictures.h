// The pictures of `sfumato toy`.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "diffusion/schedule.h"
#include "diffusion/toy/plane.h"
#include "tensor/io/svg.h"
#include "tensor/tensor.h"

namespace sfumato::apps {

// What a sampler did in so many steps.
struct ToyMeasure {
  double steps, evaluations;    // of the network, for one point
  std::optional<double> error;  // mean distance from the exact flow; none where steps have noise
  double distance;              // sliced Wasserstein distance of what it drew to data
};

struct ToyWalk {
  std::string name;
  ToyMeasure measure;  // in --steps
  std::vector<ToyMeasure> sweep =
      {};  // by rising numbers of steps; empty where it chooses them itself
  std::optional<double> slope = {};  // of the errors there
  std::vector<std::vector<io::SvgPoint>> path =
      {};  // [steps + 1]: all points, of the size of DDPM's process
};

// What the pictures show.
struct ToyResult {
  std::string name;  // of the distribution
  diffusion::Schedule schedule;
  Tensor data;                                                               // f32 [N, 2]
  std::vector<std::pair<std::string, diffusion::toy::Answer>> answers = {};  // exact, learned
  std::vector<ToyWalk> walks = {};
  double floor = 0;  // the distance between two draws of the data
};

// Each is the text of a file, a function of the result.
std::string samples_picture(const ToyResult& result);  // what each sampler drew, beside data
std::string score_picture(
    const ToyResult& result);  // the score at three levels of noise, as arrows
std::string trajectories_picture(
    const ToyResult& result);                        // the ways of some points from noise to data
std::string error_picture(const ToyResult& result);  // error and distance over evaluations

}  // namespace sfumato::apps
