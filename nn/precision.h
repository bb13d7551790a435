// What a network computes in. Whatever that is, parameters, their gradients and the optimiser's state are f32, and so are
// statistics, softmax, the loss, what conditions the network (the embeddings of time and class) and the sampler's state.
#pragma once
#include <string_view>

#include "nn/params.h"

namespace sfumato::nn {

// A row of precision.cpp.
struct Precision {
  std::string_view name;
  std::string_view diffusers;  // PyTorch's name for it
  std::string_view help;
  DType dtype;         // of activations, and of the matrices and filters that multiply them
  bool tf32_products;  // products of f32 may round their factors (tensor/device.h, allow_tf32)

  static const Precision f32, tf32, bf16;
  static constexpr const Precision* all[] = {&f32, &tf32, &bf16};

  bool operator==(const Precision& other) const { return name == other.name; }
};

// Throws Error unless the device computes in it: the CPU computes in f32.
void expect_precision(const Precision& precision, Device device);

// Moves the parameters to the device, to be used in this precision. Throws as expect_precision().
void use(Params& params, Device device, const Precision& precision);

}  // namespace sfumato::nn
