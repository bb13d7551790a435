// The conformance kit: what every layer has to pass, in one call. For your own layers too:
//
//   nn::check_layer({.name = "layer_scale",
//                    .make = [](const nn::Scope& s) { return LayerScale(s, 8); },
//                    .input = {2, 5, 5, 8},
//                    .output = {2, 5, 5, 8}});
#pragma once
#include <functional>
#include <string>

#include "nn/params.h"

namespace sfumato::nn {

struct LayerCase {
  std::string name;
  // Builds the layer: anything that maps a Var to a Var. All it learns comes from the scope.
  std::function<std::function<Var(const Var&)>(const Scope&)> make;
  Shape input, output;
  double gradcheck_tolerance = 2e-6;
  Device device = Device::cpu;  // where it computes
};

// Throws Error that names the layer and what broke, unless
//  - the output has the shape promised and is finite,
//  - the gradient of the input and of every parameter agrees with central differences (f64),
//  - every parameter takes part (its gradient is not identically missing),
//  - parameters saved to a file and loaded into a layer of another seed give the same output,
//  - the same seed gives the same bits again, and on 1, 2 and 3 threads.
void check_layer(const LayerCase& layer);

}  // namespace sfumato::nn
