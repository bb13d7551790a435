// The convolutions of a network, as benchmarks time them one by one.
#pragma once
#include <compare>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>

#include "autograd/var.h"
#include "diffusion/pipeline.h"
#include "nn/unet.h"
#include "tensor/io/json.h"
#include "tensor/kernels/kernels.h"

namespace sfumato::bench {

struct ConvShape {
  std::int64_t size, c, k, kernel, stride, out;  // out: the side of the output
  auto operator<=>(const ConvShape&) const = default;

  kernels::Conv of_batch(std::int64_t n) const {
    return {n, size, size, c, out, out, k, kernel, kernel, stride, kernel / 2, kernel / 2};
  }
};
using ConvCounts = std::map<ConvShape, int>;

// The convolutions of a forward pass, counted.
class CollectConvolutions : public Observer {
 public:
  void see(const char* op, std::initializer_list<Var> inputs, const Tensor& y, double) override {
    if (std::strcmp(op, "conv2d") != 0) return;
    const auto in = [&inputs](int i) { return inputs.begin()[i].value(); };
    const Tensor x = in(0), w = in(1), shortcut = in(10);
    // An up-sampling convolution sees twice the pixels.
    const bool up = y.dim(1) > x.dim(1);
    const std::int64_t h = up ? 2 * x.dim(1) : x.dim(1), stride = h / y.dim(1);
    ++count[{h, w.dim(1), w.dim(0), w.shape().rank() == 4 ? w.dim(2) : 1, stride, y.dim(1)}];
    if (shortcut.defined()) ++count[{y.dim(1), shortcut.dim(1), shortcut.dim(0), 1, 1, y.dim(1)}];
  }
  ConvCounts count;
};

// Those of the U-Net of a config.json.
inline ConvCounts convolutions_of(const std::string& file) {
  const io::JsonObject config = io::JsonObject::read(file);
  const auto [height, width] = diffusion::read_sample_size(config);
  nn::Params params(1);
  const nn::UNet unet(params, nn::parse_unet_config(config));
  const NoGrad no_grad;
  CollectConvolutions collect;
  unet(Tensor::zeros({1, height, width, unet.in_channels}), Tensor::zeros({1}, DType::i64),
       unet.conditioning.zeros(1));
  return collect.count;
}

}  // namespace sfumato::bench
