// A small classifier of pictures, which has seen only real ones: its classes tell whether a drawn picture shows what was
// asked for, its features how far drawn pictures are from real ones. Trained with this library, it also shows that
// nothing in it is made for diffusion alone.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "diffusion/data/dataset.h"
#include "nn/layers.h"
#include "nn/optim.h"

namespace sfumato::eval {

// Five convolutions with group normalisation and SiLU, the mean over pixels, a linear layer.
class Classifier {
 public:
  Classifier(std::int64_t channels, std::int64_t classes);

  struct Output {
    Var features, logits;  // [N, 64], [N, classes]
  };
  // x [N,H,W,C] in [-1, 1]
  Output operator()(const Var& x) const;

  nn::Params& params() { return *params_; }
  std::int64_t channels() const { return conv_in_.weight.shape()[1]; }
  std::int64_t classes() const { return out_.weight.shape()[0]; }

 private:
  std::unique_ptr<nn::Params> params_;
  nn::Conv2d conv_in_, down1_, conv1_, down2_, conv2_;
  nn::GroupNorm norm1_, norm2_, norm3_, norm4_, norm_out_;
  nn::Linear out_;
};

// What a classifier says of pictures: the features that the Fréchet distance compares, and classes.
struct Predictions {
  Tensor features;                    // f32 [N, 64]
  std::vector<std::int64_t> classes;  // [N], the most likely one of each
};
// pictures u8 [N,H,W,C]
Predictions classify(const Classifier& classifier, const Tensor& pictures);

// How many pictures' predicted class is that of `labels` (as many, at least one); and their share in per cent.
std::int64_t correct(const Predictions& predictions, std::span<const std::int64_t> labels);
double accuracy(const Predictions& predictions, std::span<const std::int64_t> labels);

// Trained on `dataset`, which has labels, with shifts of up to two pixels. `progress` is called after each step. By Muon a
// quarter of the pictures suffices; by AdamW are the judges of all figures in docs/.
Classifier train_classifier(
    const data::ImageDataset& dataset,
    const std::function<void(std::int64_t step, std::int64_t steps)>& progress = {},
    const nn::Optimizer& optimizer = nn::Optimizer::adamw);

}  // namespace sfumato::eval
