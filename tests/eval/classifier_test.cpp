#include "diffusion/eval/classifier.h"

#include <gtest/gtest.h>

#include "tensor/error.h"

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

TEST(Classifier, AccuracyIsTheShareOfEqualClasses) {
  const Predictions p{{}, {0, 1, 2, 2}};
  EXPECT_EQ(accuracy(p, std::vector<std::int64_t>{0, 1, 2, 0}), 75);
  EXPECT_THROW(accuracy(p, std::vector<std::int64_t>{0}), Error);
  EXPECT_THROW(accuracy({}, {}), Error);
}

}  // namespace
}  // namespace sfumato::eval
