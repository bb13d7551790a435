// Layers of other networks than this library's own: those of convolutional networks as courses build them, and RMSNorm.
// Names of parameters, defaults and results are PyTorch's; images are [N,H,W,C].
#pragma once
#include <cstdint>
#include <optional>

#include "nn/layers.h"

namespace sfumato::nn {

// y = γ x / √(mean of x² over the channels + eps): [...,C] -> [...,C]           [Zhang and Sennrich 2019, eq. 4]
struct RMSNorm {
  std::optional<Param> weight;  // γ [C]
  double eps;
  RMSNorm(const Scope& s, std::int64_t channels, double eps = 1e-6, bool affine = true);
  Var operator()(const Var& x) const;
};

// Means and largest numbers of kernel x kernel windows, `stride` apart (none: as far as they are wide):
// [N,H,W,C] -> [N,⌊(H - kernel) / stride⌋ + 1, ...,C]
struct AvgPool2d {
  std::int64_t kernel, stride;
  explicit AvgPool2d(std::int64_t kernel, std::optional<std::int64_t> stride = {})
      : kernel(kernel), stride(stride.value_or(kernel)) {}
  Var operator()(const Var& x) const { return avg_pool2d(x, kernel, stride); }
};
struct MaxPool2d {
  std::int64_t kernel, stride;
  explicit MaxPool2d(std::int64_t kernel, std::optional<std::int64_t> stride = {})
      : kernel(kernel), stride(stride.value_or(kernel)) {}
  Var operator()(const Var& x) const { return max_pool2d(x, kernel, stride); }
};

// [N,H,W,in] -> [N,(H - 1) stride - 2 padding + kernel + output_padding, ...,out]
struct ConvTranspose2d {
  Param weight, bias;  // [in, out, kernel, kernel], [out]
  ConvTranspose2dOptions options;
  ConvTranspose2d(const Scope& s, std::int64_t in, std::int64_t out, std::int64_t kernel,
                  const ConvTranspose2dOptions& options = {});
  Var operator()(const Var& x) const { return conv_transpose2d(x, weight, bias, options); }
};

// y = γ (x - mean) / √(var + eps) + β, each channel over all pixels of the batch: [N,H,W,C] -> [N,H,W,C]
// [Ioffe and Szegedy 2015, algorithm 1]. In training (Mode) mean and variance are the batch's, and the running ones move
// towards them: that is for one thread at a time, and not for a block that is computed again (autograd/checkpoint.h), which
// would move them twice. Otherwise they are the running ones. Throws Error when a training batch has one pixel in all.
struct BatchNorm2d {
  Param weight, bias;                // γ, β [C]
  Buffer running_mean, running_var;  // [C]; of the variance, the unbiased one
  Buffer num_batches_tracked;        // i64 []
  double eps, momentum;
  BatchNorm2d(const Scope& s, std::int64_t channels, double eps = 1e-5, double momentum = 0.1);
  Var operator()(const Var& x, const Mode& mode) const;

 private:
  void track(const Tensor& x) const;
};

}  // namespace sfumato::nn
