#include "diffusion/eval/neighbours.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "diffusion/eval/class_mean.h"
#include "tensor/error.h"

namespace sfumato::eval {
namespace {

// Pictures of 2 x 1 grey pixels.
Tensor pictures(std::initializer_list<std::uint8_t> values) {
  return Tensor::from<std::uint8_t>({static_cast<std::int64_t>(values.size()) / 2, 2, 1, 1},
                                    values);
}

TEST(Neighbours, TheTwoNearestAndTheirDistances) {
  const Tensor set = pictures({0, 0, 255, 255, 0, 255, 10, 0});
  const auto found = nearest(pictures({4, 0, 255, 250}), set);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].first, 0);
  EXPECT_EQ(found[0].second, 3);
  EXPECT_NEAR(found[0].first_distance, 4 * 2 / 255.0 / std::sqrt(2), 1e-12);
  EXPECT_NEAR(found[0].second_distance, 6 * 2 / 255.0 / std::sqrt(2), 1e-12);
  EXPECT_FALSE(found[0].copied());
  EXPECT_EQ(found[1].first, 1);
  EXPECT_TRUE(found[1].copied());
}

TEST(Neighbours, FloatsAreComparedAsTheyAre) {
  const Tensor a = Tensor::from<float>({1, 1, 2, 1}, {0.5f, -1});
  const auto found = nearest(a, Tensor::from<float>({1, 1, 2, 1}, {0.5f, 1}));
  EXPECT_NEAR(found[0].first_distance, std::sqrt(2), 1e-6);
  EXPECT_EQ(found[0].second, -1);
  EXPECT_EQ(found[0].second_distance, std::numeric_limits<double>::infinity());
}

TEST(Neighbours, BadInput) {
  EXPECT_THROW(nearest(pictures({1, 2}), Tensor::zeros({2, 2, 1, 1})), Error);
  EXPECT_THROW(nearest(pictures({1, 2}), Tensor::zeros({2, 1, 1, 1}, DType::u8)), Error);
  EXPECT_THROW(nearest(pictures({1, 2}), Tensor::zeros({0, 2, 1, 1}, DType::u8)), Error);
}

TEST(ClassMeans, AreMeansOfSignedPictures) {
  data::ImageDataset d;
  d.images = pictures({0, 255, 255, 255, 0, 51});
  d.labels = Tensor::from<std::int64_t>({3}, {0, 0, 2});
  d.classes = 3;
  const Tensor means = class_means(d);
  const float want[] = {0, 1, 0, 0, -1, -0.6f};
  ASSERT_EQ(means.shape(), (Shape{3, 2, 1, 1}));
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(means.data<float>()[i], want[i], 1e-6) << i;
  d.classes = 0;
  EXPECT_THROW(class_means(d), Error);
}

}  // namespace
}  // namespace sfumato::eval
