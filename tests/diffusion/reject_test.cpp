// Rejection sampling: which pictures are drawn again, and how often.
#include "diffusion/reject.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops.h"
#include "diffusion/generate.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::max_difference;
using testing::unconditional_model;

// Light pictures are of class 1. A mean above 0 is light: about half of the pictures.
const PictureClassifier kReader{2, [](const Var& x0) {
                                  const std::int64_t n = x0.dim(0), pixels = x0.value().size() / n;
                                  const Var light = sum_to(reshape(x0, {n, pixels}), Shape{n, 1});
                                  return concat(-light, light);
                                }};

double light_of(const Tensor& picture) {
  double sum = 0;
  for (const std::uint8_t value : picture.values<std::uint8_t>()) sum += value / 127.5 - 1;
  return sum;
}
std::int64_t class_of(const Tensor& picture) { return light_of(picture) > 0 ? 1 : 0; }

const GenerateOptions kOptions{.labels = {0, 1, 0, 1, 0, 1, 0, 1}, .steps = 2};

TEST(Reject, KeepsWhatIsReadAndDrawsTheOthersAgain) {
  const Pipeline model = unconditional_model();
  const Tensor first = generate(model, kOptions);
  const Read once = generate_read(model, kOptions, kReader, {.tries = 1});
  EXPECT_EQ(max_difference(once.pictures, first), 0);
  EXPECT_EQ(once.drawn_again, 0);
  std::int64_t misread = 0;
  for (std::int64_t i = 0; i < 8; ++i)
    misread += class_of(first.slice(i, i + 1)) != kOptions.labels[static_cast<std::size_t>(i)];
  EXPECT_EQ(once.misread, misread);
  ASSERT_GT(misread, 0);
  ASSERT_LT(misread, 8);

  const Read read = generate_read(model, kOptions, kReader, {.tries = 40});
  EXPECT_EQ(read.misread, 0);
  EXPECT_GE(read.drawn_again, misread);
  for (std::int64_t i = 0; i < 8; ++i) {
    const std::int64_t label = kOptions.labels[static_cast<std::size_t>(i)];
    EXPECT_EQ(class_of(read.pictures.slice(i, i + 1)), label);
    if (class_of(first.slice(i, i + 1)) == label) {
      EXPECT_EQ(max_difference(read.pictures.slice(i, i + 1), first.slice(i, i + 1)), 0) << i;
    }
  }
}

TEST(Reject, NeitherBatchNorCountChangesAPicture) {
  const Pipeline model = unconditional_model();
  const Read all = generate_read(model, kOptions, kReader, {.tries = 5});
  GenerateOptions o = kOptions;
  o.batch = 3;
  EXPECT_EQ(max_difference(generate_read(model, o, kReader, {.tries = 5}).pictures, all.pictures),
            0);
  o.labels.resize(5);
  EXPECT_EQ(max_difference(generate_read(model, o, kReader, {.tries = 5}).pictures,
                           all.pictures.slice(0, 5)),
            0);
}

// The reader is the surer the lighter a picture is: p(1) = 1 / (1 + e^(−2 light)).
TEST(Reject, AsksForTheConfidence) {
  const Pipeline model = unconditional_model();
  GenerateOptions o = kOptions;
  o.labels.assign(8, 1);
  const double least = 0.9999, wanted = std::log(least / (1 - least)) / 2;
  const Tensor first = generate(model, o);
  std::int64_t unsure = 0;
  for (std::int64_t i = 0; i < 8; ++i) unsure += light_of(first.slice(i, i + 1)) < wanted;
  const Read once = generate_read(model, o, kReader, {.tries = 1, .confidence = least});
  EXPECT_EQ(once.misread, unsure);
  EXPECT_GT(unsure, generate_read(model, o, kReader, {.tries = 1}).misread);
  const Read sure = generate_read(model, o, kReader, {.tries = 100, .confidence = least});
  EXPECT_EQ(sure.misread, 0);
  for (std::int64_t i = 0; i < 8; ++i)
    EXPECT_GE(light_of(sure.pictures.slice(i, i + 1)), wanted - 1e-3) << i;
}

TEST(Reject, RefusesWhatCannotBeRead) {
  const Pipeline model = unconditional_model();
  const auto refused = [&](const GenerateOptions& o, std::int64_t tries, const char* text) {
    try {
      generate_read(model, o, kReader, {.tries = tries});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  };
  refused(kOptions, 0, "expected at least one try, got 0");
  GenerateOptions o = kOptions;
  o.labels = {0, 2};
  refused(o, 2, "label 2: the classifier knows 0..1");
  o = kOptions;
  o.on_step = [](std::int64_t, const Tensor&) {};
  refused(o, 2, "drawn again");
  o = kOptions;
  o.mix.assign(8, {1, 0.5});
  refused(o, 2, "no second one");
}

}  // namespace
}  // namespace sfumato::diffusion
