// The loops of diffusion/training, on pictures whose best answer is known.
#include "diffusion/training/training.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "diffusion/generate.h"
#include "diffusion/schedule.h"
#include "nn/presets.h"
#include "tensor/error.h"

namespace sfumato::diffusion {
namespace {

// Class 0 is black or dark grey, class 1 white or light grey: as often the one as the other.
constexpr std::uint8_t kValues[] = {0, 204, 51, 255};  // of picture i mod 4; its class is i mod 2
constexpr double kDark = 25.5, kLight = 229.5;         // the means
constexpr double kBlur = 25.5;                         // from a mean to either picture

data::Batches batches() {
  Tensor images({64, 8, 8, 1}, DType::u8), labels({64}, DType::i64);
  for (std::int64_t i = 0; i < 64; ++i) {
    images.slice(i, i + 1).fill(kValues[i % 4]);
    labels.data<std::int64_t>()[i] = i % 2;
  }
  return data::Batches(images, labels, 16, 1);
}

Pipeline model(const SchedulerConfig& scheduler = default_scheduler(), std::uint64_t seed = 1) {
  nn::UNetConfig config = nn::preset("tiny", 1, 2);
  Pipeline m = make_pipeline(config, scheduler, seed);
  m.network->sample_size = {8, 8};
  return m;
}

const std::vector<std::int64_t> kLabels = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1};

double mean_of(const Tensor& picture) {
  double sum = 0;
  for (const std::uint8_t v : picture.values<std::uint8_t>()) sum += v;
  return sum / static_cast<double>(picture.size());
}
// How far a set's pictures are from the nearest grey that their class has, on average.
double distance_to_data(const Tensor& pictures) {
  double sum = 0;
  for (std::int64_t i = 0; i < pictures.dim(0); ++i) {
    const double m = mean_of(pictures.slice(i, i + 1));
    const double a = kLabels[static_cast<std::size_t>(i)] == 0 ? 0 : 204, b = a + 51;
    sum += std::min(std::abs(m - a), std::abs(m - b));
  }
  return sum / static_cast<double>(pictures.dim(0));
}

TEST(Training, AtTheLastTimeItLearnsTheClassMean) {
  Pipeline m = model();
  train_at_last_time(m, batches(), 1, {.steps = 300, .warmup = 10, .ema = 0.98});
  const Tensor pictures = generate(m, {.labels = {0, 1}, .steps = 1});
  EXPECT_NEAR(mean_of(pictures.slice(0, 1)), kDark, 8);
  EXPECT_NEAR(mean_of(pictures.slice(1, 2)), kLight, 8);
}

// A teacher, and students of it: one step of each is nearer to the data than one step of the teacher, which is near the
// class mean (25.5 from both greys).
TEST(Training, DistillationBringsOneStepToTheData) {
  Pipeline teacher = model();
  train_denoiser(teacher, batches(), 1, {.steps = 1500, .ema = 0.99});
  const auto draw = [&](const Pipeline& m, std::int64_t steps) {
    return generate(m, {.labels = kLabels, .steps = steps, .seed = 5});
  };
  const double blur = distance_to_data(draw(teacher, 1));
  EXPECT_GT(blur, 15);
  EXPECT_LT(distance_to_data(draw(teacher, 16)), 0.6 * blur);

  const nn::FitOptions fit{.steps = 300, .warmup = 10, .lr = 1e-3, .ema = 0.98};
  const Pairs pairs = draw_pairs(teacher, std::vector<std::int64_t>(kLabels), 16, 5);
  Pipeline direct = model();
  copy_weights(teacher, direct);
  train_reflow(direct, pairs, {.batch = 16, .last_time_only = true}, 2, fit);
  EXPECT_LT(distance_to_data(draw(direct, 1)), 0.7 * blur);  // the very noise of the pairs

  Pipeline student = model(), halved = model();
  copy_weights(teacher, student);
  copy_weights(teacher, halved);
  for (const std::int64_t steps : {8, 4, 2, 1}) {
    train_progressive(student, halved, steps, batches(), 3, fit);
    copy_weights(student, halved);
  }
  EXPECT_LT(distance_to_data(draw(student, 1)), 0.8 * blur);

  Pipeline consistent = model();
  copy_weights(teacher, consistent);
  train_consistency(consistent, batches(), 4,
                    {.steps = 600, .warmup = 10, .lr = 1e-3, .ema = 0.98});
  EXPECT_LT(distance_to_data(sample_consistency(consistent, kLabels, 1, 5)), 0.8 * blur);
}

// A step that knows its length: the shortest ones are flow matching, and one of length 1 is nearer to the data than flow
// matching's, whose best answer at noise is the mean.
TEST(Training, AShortcutIsToldItsLength) {
  const SchedulerConfig flow = default_scheduler(Prediction::flow, BetaSchedule::flow);
  Pipeline m = make_pipeline(nn::preset("tiny", 1, 2 * kShortcutSizes), flow, 1);
  m.network->sample_size = {8, 8};
  train_shortcut(m, batches(), 6, {.steps = 400, .ema = 0.98});
  EXPECT_LT(distance_to_data(sample_shortcut(m, kLabels, 32, 5)), 0.6 * kBlur);
  EXPECT_LT(distance_to_data(sample_shortcut(m, kLabels, 1, 5)), 0.6 * kBlur);
}

TEST(Training, SameSeedSameWeights) {
  const auto trained = [] {
    Pipeline m = model(default_scheduler(Prediction::flow, BetaSchedule::flow));
    train_denoiser(m, batches(), 1, {.steps = 3});
    return m.params->flat_values().clone();
  };
  const Tensor a = trained(), b = trained();
  for (std::int64_t i = 0; i < a.size(); ++i) ASSERT_EQ(a.data<float>()[i], b.data<float>()[i]);
}

// Equal weights are none, and a factor in all of them is none to AdamW, but for rounding.
TEST(Training, EqualWeightsChangeNothing) {
  Pipeline plain = model(), weighted = model();
  const nn::FitOptions fit{.steps = 3, .warmup = 0};
  train_denoiser(plain, batches(), 1, fit);
  train_weighted(weighted, batches(), std::vector<double>(1000, 1.0), 1, fit);
  const Tensor a = plain.params->flat_values(), b = weighted.params->flat_values();
  double most = 0;
  for (std::int64_t i = 0; i < a.size(); ++i)
    most = std::max(most, static_cast<double>(std::abs(a.data<float>()[i] - b.data<float>()[i])));
  EXPECT_LT(most, 2e-3);
  EXPECT_THROW(train_weighted(plain, batches(), {1.0}, 1, fit), Error);
}

TEST(Training, BadInput) {
  Pipeline flow = model(default_scheduler(Prediction::flow, BetaSchedule::flow)), v = model();
  EXPECT_THROW(train_consistency(flow, batches(), 1, {.steps = 1}), Error);
  EXPECT_THROW(train_progressive(v, flow, 1, batches(), 1, {.steps = 1}), Error);
  EXPECT_THROW(train_reflow(v, {}, {}, 1, {.steps = 1}), Error);
  EXPECT_THROW(train_shortcut(flow, batches(), 1, {.steps = 1}), Error);  // 2 rows, not 14
}

}  // namespace
}  // namespace sfumato::diffusion
