#include "diffusion/data/batches.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tensor/for_each.h"
#include "tensor/rng.h"

namespace sfumato::data {
namespace {

constexpr float to_signed(std::uint8_t v) { return static_cast<float>(v) * (2.0f / 255.0f) - 1.0f; }

struct ToSigned {
  const std::uint8_t* from;
  float* to;
  constexpr void operator()(std::int64_t i) const { to[i] = to_signed(from[i]); }
};

template <class T>
struct ToByte {
  const T* from;
  std::uint8_t* to;
  constexpr void operator()(std::int64_t i) const {
    to[i] =
        static_cast<std::uint8_t>(std::lround(std::clamp((from[i] + 1) * T(127.5), T(0), T(255))));
  }
};

// Which picture is the i-th of a batch, and its label.
struct Draw {
  Shuffle shuffle;
  const std::int64_t* k;  // the batch's number
  std::int64_t batch, n;
  const std::int64_t* labels;  // of all pictures; null: none
  RandomBlocks random;         // for label dropout
  double label_dropout;
  std::int64_t null_label;
  RandomBlocks mirror;
  std::int64_t *number, *label, *mirrored;  // of the batch; mirrored null: none is

  constexpr void operator()(std::int64_t i) const {
    const std::int64_t position = *k * batch + i;
    number[i] = shuffle(position / n, position % n);
    if (mirrored) {
      RandomBlocks of_epoch = mirror;
      of_epoch.stream += static_cast<std::uint64_t>(position / n);
      mirrored[i] = of_epoch(number[i])[0] & 1;
    }
    if (!labels) return;
    const bool drop = label_dropout > 0 && unit_interval(random(i / 4)[i % 4]) < label_dropout;
    label[i] = drop ? null_label : labels[number[i]];
  }
};

// A picture of this many columns and channels, as it is or mirrored.
struct ToSignedMirrored {
  const std::uint8_t* from;
  float* to;
  std::int64_t columns, channels;
  bool mirrored;
  constexpr void operator()(std::int64_t i) const {
    const std::int64_t column = i / channels % columns;
    to[i] = to_signed(from[mirrored ? i + (columns - 1 - 2 * column) * channels : i]);
  }
};
struct TakeMirrored {
  const std::uint8_t* images;
  std::int64_t pixels, columns, channels;
  const std::int64_t *number, *mirrored;
  float* x0;

  constexpr ToSignedMirrored operator()(std::int64_t i) const {
    return {images + number[i] * pixels, x0 + i * pixels, columns, channels, mirrored[i] == 1};
  }
};

// Picture number[i] as numbers in [-1, 1].
struct TakePicture {
  const std::uint8_t* images;
  std::int64_t pixels;
  const std::int64_t* number;
  float* x0;

  constexpr ToSigned operator()(std::int64_t i) const {
    return {images + number[i] * pixels, x0 + i * pixels};
  }
};

}  // namespace

Tensor to_signed(const Tensor& images) {
  Tensor x(images.shape(), {DType::f32, images.device()});
  for_each(x.device(), x.size(), ToSigned{images.data<std::uint8_t>(), x.data<float>()});
  return x;
}

Tensor to_bytes(const Tensor& x) {
  Tensor images(x.shape(), {DType::u8, x.device()});
  for_each(x.device(), x.size(), ToByte<float>{x.data<float>(), images.data<std::uint8_t>()});
  return images;
}

Batches::Batches(Tensor images, Tensor labels, std::int64_t batch, std::uint64_t seed,
                 std::optional<std::int64_t> null_label, double label_dropout, bool flip)
    : images_(std::move(images)),
      labels_(std::move(labels)),
      batch_(batch),
      seed_(seed),
      null_label_(null_label),
      label_dropout_(label_dropout),
      flip_(flip),
      shuffle_(seed, (expect_rank("batches", "images", images_, 4), images_.dim(0))) {
  expect_dtype("batches", "images", images_, DType::u8);
  if (images_.dim(0) < 1) throw Error("batches", "no images");
  if (batch < 1)
    throw Error("batches", fmt::format("expected a batch of at least 1, got {}", batch));
  if (labels_.defined()) {
    expect_shape("batches", "labels", labels_, {images_.dim(0)});
    expect_kind("batches", "labels", labels_, {DType::i64, images_.device()});
  }
}

Batch Batches::at(std::int64_t k) const {
  constexpr std::int64_t kEpochs = std::int64_t{1} << 48;  // as many as there are streams of order
  if (k < 0 || k >= INT64_MAX / batch_ - 1 || (k + 1) * batch_ / images_.dim(0) >= kEpochs)
    throw Error("batches", fmt::format("there is no batch number {} of {} pictures", k, batch_));
  return at(Tensor::from<std::int64_t>({}, {k}).to(images_.device()));
}

Batch Batches::at(const Tensor& k) const {
  const Device device = images_.device();
  expect_shape("batches", "k", k, {});
  expect_kind("batches", "k", k, {DType::i64, device});
  const std::int64_t n = images_.dim(0), pixels = images_.size() / n;
  const bool drops = labels_.defined() && null_label_ && label_dropout_ > 0;
  Batch b{Tensor(images_.shape().with(0, batch_), {DType::f32, device}), {}};
  Tensor number({batch_}, {DType::i64, device}), mirrored;
  if (flip_) mirrored = Tensor({batch_}, {DType::i64, device});
  if (labels_.defined()) b.labels = Tensor({batch_}, {DType::i64, device});
  for_each(device, batch_,
           Draw{.shuffle = shuffle_,
                .k = k.data<std::int64_t>(),
                .batch = batch_,
                .n = n,
                .labels = labels_.data_or_null<std::int64_t>(),
                .random = drops ? Rng(seed_, Purpose::label_dropout, k).blocks() : RandomBlocks{},
                .label_dropout = drops ? label_dropout_ : 0,
                .null_label = null_label_.value_or(0),
                .mirror = Rng(seed_, Purpose::flip).blocks(),
                .number = number.data<std::int64_t>(),
                .label = labels_.defined() ? b.labels.data<std::int64_t>() : nullptr,
                .mirrored = flip_ ? mirrored.data<std::int64_t>() : nullptr});
  if (flip_) {
    for_each_row(device, batch_, pixels,
                 TakeMirrored{images_.data<std::uint8_t>(), pixels, images_.dim(2), images_.dim(3),
                              number.data<std::int64_t>(), mirrored.data<std::int64_t>(),
                              b.x0.data<float>()});
    return b;
  }
  for_each_row(device, batch_, pixels,
               TakePicture{images_.data<std::uint8_t>(), pixels, number.data<std::int64_t>(),
                           b.x0.data<float>()});
  return b;
}

}  // namespace sfumato::data
