#include "diffusion/eval/classifier.h"

#include <fmt/format.h>

#include <algorithm>

#include "diffusion/data/batches.h"
#include "nn/checkpoint.h"
#include "tensor/argmax.h"
#include "tensor/error.h"

namespace sfumato::eval {
namespace {

constexpr std::int64_t kGroups = 8, kFeatures = 64;
constexpr std::int64_t kEpochs = 3, kBatch = 64;
constexpr std::int64_t kMostShift = 2;  // pixels
constexpr std::uint64_t kSeed = 1;

nn::Conv2d conv(nn::Params& p, const char* name, std::int64_t in, std::int64_t out,
                std::int64_t stride) {
  return {nn::Scope(p) / name, in, out, 3, Conv2dOptions::padded(1, stride)};
}
nn::GroupNorm norm(nn::Params& p, const char* name, std::int64_t channels) {
  return {nn::Scope(p) / name, channels, kGroups, 1e-5};
}

// Each picture moved by up to kMostShift pixels; what comes in at the edge is `empty`.
Tensor shifted(const Tensor& x, Rng rng, float empty) {
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  const Tensor shift = rng.randint({n, 2}, 2 * kMostShift + 1);
  Tensor y = Tensor::full(x.shape(), static_cast<double>(empty));
  for (std::int64_t b = 0; b < n; ++b) {
    const std::int64_t down = shift.data<std::int64_t>()[2 * b] - kMostShift;
    const std::int64_t right = shift.data<std::int64_t>()[2 * b + 1] - kMostShift;
    const std::int64_t first = std::max<std::int64_t>(0, -right), last = std::min(w, w - right);
    for (std::int64_t r = 0; r < h; ++r) {
      if (r + down < 0 || r + down >= h || first >= last) continue;
      const float* from = x.data<float>() + ((b * h + r) * w + first) * c;
      std::copy_n(from, (last - first) * c,
                  y.data<float>() + ((b * h + r + down) * w + first + right) * c);
    }
  }
  return y;
}

}  // namespace

Classifier::Classifier(std::int64_t channels, std::int64_t classes)
    : params_(std::make_unique<nn::Params>(kSeed)),
      conv_in_(conv(*params_, "conv_in", channels, 16, 1)),
      down1_(conv(*params_, "down1", 16, 32, 2)),
      conv1_(conv(*params_, "conv1", 32, 32, 1)),
      down2_(conv(*params_, "down2", 32, kFeatures, 2)),
      conv2_(conv(*params_, "conv2", kFeatures, kFeatures, 1)),
      norm1_(norm(*params_, "norm1", 16)),
      norm2_(norm(*params_, "norm2", 32)),
      norm3_(norm(*params_, "norm3", 32)),
      norm4_(norm(*params_, "norm4", kFeatures)),
      norm_out_(norm(*params_, "norm_out", kFeatures)),
      out_(nn::Scope(*params_) / "out", kFeatures, classes) {}

Classifier::Output Classifier::operator()(const Var& x) const {
  Var h = conv_in_(x);
  h = down1_(h, {.norm = norm1_.with_silu()});
  h = conv1_(h, {.norm = norm2_.with_silu(), .residual = h});
  h = down2_(h, {.norm = norm3_.with_silu()});
  h = conv2_(h, {.norm = norm4_.with_silu(), .residual = h});
  h = norm_out_.then_silu(h);  // [N, H/4, W/4, 64]
  const std::int64_t n = h.dim(0), pixels = h.dim(1) * h.dim(2);
  const Var sums = sum_to(reshape(h, {n, pixels, kFeatures}), {n, 1, kFeatures});
  const Var features = reshape(sums * (1 / static_cast<double>(pixels)), {n, kFeatures});
  return {features, out_(features)};
}

Predictions classify(const Classifier& classifier, const Tensor& pictures) {
  NoGrad no_grad;
  const std::int64_t n = pictures.dim(0);
  Predictions predictions{Tensor({n, kFeatures}), {}};
  for (std::int64_t begin = 0; begin < n; begin += 256) {
    const std::int64_t end = std::min(n, begin + 256);
    const auto [features, logits] = classifier(data::to_signed(pictures.slice(begin, end)));
    predictions.features.slice(begin, end).copy_from(features.value());
    for (const std::int64_t c : argmax_of_rows(logits.value())) predictions.classes.push_back(c);
  }
  return predictions;
}

std::int64_t correct(const Predictions& predictions, std::span<const std::int64_t> labels) {
  if (labels.empty() || labels.size() != predictions.classes.size())
    throw Error("accuracy", fmt::format("{} predictions for {} labels", predictions.classes.size(),
                                        labels.size()));
  std::int64_t right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += predictions.classes[i] == labels[i];
  return right;
}

double accuracy(const Predictions& predictions, std::span<const std::int64_t> labels) {
  return 100 * static_cast<double>(correct(predictions, labels)) /
         static_cast<double>(labels.size());
}

Classifier train_classifier(
    const data::ImageDataset& dataset,
    const std::function<void(std::int64_t step, std::int64_t steps)>& progress,
    const nn::Optimizer& optimizer) {
  Classifier classifier(dataset.images.dim(3), dataset.classes);
  nn::Params& params = classifier.params();
  const data::Batches batches(dataset.images, dataset.labels, kBatch, kSeed);
  nn::AdamW moves(params, {.beta2 = 0.999, .weight_decay = 0.01, .muon = optimizer.orthogonal});
  const double rate = optimizer.orthogonal ? 1e-2 : 3e-3;
  const std::int64_t steps = kEpochs * ((dataset.images.dim(0) + kBatch - 1) / kBatch);
  for (std::int64_t k = 0; k < steps; ++k) {
    const auto [x, labels] = batches.at(k);
    const Tensor moved =
        shifted(x, Rng(kSeed, Purpose::general, static_cast<std::uint64_t>(k)), -1);
    params.zero_grad();
    const Var loss = cross_entropy(classifier(moved).logits, labels);
    loss.backward();
    const double done = static_cast<double>(k) / static_cast<double>(steps);
    moves.step(rate * nn::warmup_cosine(k, 50, done, 0.01), {nn::gradient_norm(params), 1});
    if (progress) progress(k + 1, steps);
  }
  return classifier;
}

}  // namespace sfumato::eval
