#include "diffusion/eval/classifier.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tensor/error.h"
#include "tensor/rng.h"

namespace sfumato::eval {
namespace {

// 64 pictures of 8 x 8: black ones of class 0, white ones of class 1.
data::ImageDataset black_and_white() {
  data::ImageDataset d;
  d.images = Tensor::zeros({64, 8, 8, 1}, DType::u8);
  d.labels = Tensor::zeros({64}, DType::i64);
  d.classes = 2;
  for (std::int64_t i = 0; i < 64; i += 2) {
    d.images.slice(i, i + 1).copy_from(Tensor::full({1, 8, 8, 1}, 255, DType::u8));
    d.labels.data<std::int64_t>()[i] = 1;
  }
  return d;
}

TEST(Classifier, LearnsAndClassifies) {
  const data::ImageDataset d = black_and_white();
  std::int64_t calls = 0, last = 0;
  const Classifier classifier = train_classifier(d, [&](std::int64_t step, std::int64_t steps) {
    ++calls;
    last = step;
    EXPECT_EQ(steps, 3);  // epochs of one batch
  });
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(last, 3);
  const Predictions p = classify(classifier, d.images);
  EXPECT_EQ(p.features.shape(), (Shape{64, 64}));
  EXPECT_EQ(p.classes.size(), 64u);
  // The same weights on every run.
  EXPECT_EQ(classify(train_classifier(d), d.images).classes, p.classes);
}

// Strokes across and along, of which the brightness says nothing.
TEST(Classifier, EitherOptimizerLearnsStrokes) {
  data::ImageDataset d;
  d.images = Tensor::zeros({640, 8, 8, 1}, DType::u8);
  d.labels = Tensor::zeros({640}, DType::i64);
  d.classes = 2;
  Rng rng(5);
  const Tensor noise = rng.normal({640, 8, 8}, DType::f32);
  for (std::int64_t i = 0; i < 640; ++i) {
    d.labels.data<std::int64_t>()[i] = i % 2;
    for (std::int64_t j = 0; j < 64; ++j) {
      const std::int64_t line = i % 2 == 0 ? j / 8 : j % 8;
      const float value = (line % 4 < 2 ? 60.f : 190.f) + 30 * noise.data<float>()[i * 64 + j];
      d.images.data<std::uint8_t>()[i * 64 + j] =
          static_cast<std::uint8_t>(std::clamp(value, 0.f, 255.f));
    }
  }
  const Classifier muon = train_classifier(d, {}, nn::Optimizer::muon), adamw = train_classifier(d);
  const Predictions by_muon = classify(muon, d.images), by_adamw = classify(adamw, d.images);
  EXPECT_GT(accuracy(by_muon, d.labels.values<std::int64_t>()), 95);
  EXPECT_GT(accuracy(by_adamw, d.labels.values<std::int64_t>()), 95);
  EXPECT_NE(by_muon.features.values<float>()[0], by_adamw.features.values<float>()[0]);
}

TEST(Classifier, AccuracyIsTheShareOfEqualClasses) {
  const Predictions p{{}, {0, 1, 2, 2}};
  EXPECT_EQ(accuracy(p, std::vector<std::int64_t>{0, 1, 2, 0}), 75);
  EXPECT_THROW(accuracy(p, std::vector<std::int64_t>{0}), Error);
  EXPECT_THROW(accuracy({}, {}), Error);
}

}  // namespace
}  // namespace sfumato::eval
