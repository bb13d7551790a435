#include "diffusion/data/batches.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tensor/rng.h"

namespace sfumato::data {
namespace {

float to_signed(std::uint8_t v) { return static_cast<float>(v) * (2.0f / 255.0f) - 1.0f; }

}  // namespace

Tensor to_signed(const Tensor& images) {
  Tensor x(images.shape());
  std::transform(images.data<std::uint8_t>(), images.data<std::uint8_t>() + images.size(),
                 x.data<float>(), [](std::uint8_t v) { return to_signed(v); });
  return x;
}

Tensor to_bytes(const Tensor& x) {
  Tensor images(x.shape(), DType::u8);
  std::transform(
      x.data<float>(), x.data<float>() + x.size(), images.data<std::uint8_t>(), [](float v) {
        return static_cast<std::uint8_t>(std::lround(std::clamp((v + 1) * 127.5f, 0.0f, 255.0f)));
      });
  return images;
}

Batches::Batches(Tensor images, Tensor labels, std::int64_t batch, std::uint64_t seed,
                 std::optional<std::int64_t> null_label, double label_dropout)
    : images_(std::move(images)),
      labels_(std::move(labels)),
      batch_(batch),
      seed_(seed),
      null_label_(null_label),
      label_dropout_(label_dropout) {
  expect_rank("batches", "images", images_, 4);
  expect_dtype("batches", "images", images_, DType::u8);
  if (images_.dim(0) < 1) throw Error("batches", "no images");
  if (batch < 1)
    throw Error("batches", fmt::format("expected a batch of at least 1, got {}", batch));
  if (labels_.defined()) {
    expect_shape("batches", "labels", labels_, {images_.dim(0)});
    expect_dtype("batches", "labels", labels_, DType::i64);
  }
}

const std::vector<std::int64_t>& Batches::order(std::int64_t epoch) const {
  if (epoch != epoch_) {
    order_ =
        Rng(seed_, Purpose::shuffle, static_cast<std::uint64_t>(epoch)).permutation(images_.dim(0));
    epoch_ = epoch;
  }
  return order_;
}

Batch Batches::at(std::int64_t k) const {
  const std::int64_t n = images_.dim(0), pixels = images_.size() / n;
  constexpr std::int64_t kEpochs = std::int64_t{1} << 48;  // as many as there are streams of order
  if (k < 0 || k >= INT64_MAX / batch_ - 1 || (k + 1) * batch_ / n >= kEpochs)
    throw Error("batches", fmt::format("there is no batch number {} of {} pictures", k, batch_));
  Batch b;
  b.x0 = Tensor(images_.shape().with(0, batch_));
  if (labels_.defined()) b.labels = Tensor({batch_}, DType::i64);
  for (std::int64_t i = 0; i < batch_; ++i) {
    const std::int64_t position = k * batch_ + i;
    const std::int64_t source = order(position / n)[position % n];
    const auto* from = images_.data<std::uint8_t>() + source * pixels;
    std::transform(from, from + pixels, b.x0.data<float>() + i * pixels,
                   [](std::uint8_t v) { return to_signed(v); });
    if (labels_.defined()) b.labels.data<std::int64_t>()[i] = labels_.data<std::int64_t>()[source];
  }
  if (labels_.defined() && null_label_ && label_dropout_ > 0) {
    const Tensor u =
        Rng(seed_, Purpose::label_dropout, static_cast<std::uint64_t>(k)).uniform({batch_});
    for (std::int64_t i = 0; i < batch_; ++i)
      if (u.data<float>()[i] < label_dropout_) b.labels.data<std::int64_t>()[i] = *null_label_;
  }
  return b;
}

}  // namespace sfumato::data
