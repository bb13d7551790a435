// Mini-batches and the order in which pictures come.
#include "diffusion/data/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace sfumato::data {
namespace {

// Picture i is one pixel of value i, with label i.
Tensor numbered(std::int64_t n) {
  Tensor images({n, 1, 1, 1}, DType::u8);
  for (std::int64_t i = 0; i < n; ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
  return images;
}
Tensor labels(std::int64_t n) {
  Tensor t({n}, DType::i64);
  for (std::int64_t i = 0; i < n; ++i) t.data<std::int64_t>()[i] = i;
  return t;
}

std::vector<std::int64_t> order(const Shuffle& shuffle, std::int64_t epoch, std::int64_t n) {
  std::vector<std::int64_t> numbers;
  for (std::int64_t i = 0; i < n; ++i) numbers.push_back(shuffle(epoch, i));
  return numbers;
}

TEST(Shuffle, EveryEpochIsAnotherPermutation) {
  for (const std::int64_t n : {1, 2, 3, 7, 10, 100, 1023, 1024, 1025, 60000}) {
    const Shuffle shuffle(5, n);
    std::set<std::vector<std::int64_t>> different;
    for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
      std::vector<std::int64_t> numbers = order(shuffle, epoch, n);
      different.insert(numbers);
      std::ranges::sort(numbers);
      for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(numbers[static_cast<std::size_t>(i)], i);
    }
    if (n > 3) {
      EXPECT_EQ(different.size(), 5u) << n;
    }
  }
}

// How often each picture is at each position, and after each other one: as often as chance has it.
TEST(Shuffle, IsUniform) {
  constexpr std::int64_t kPictures = 20, kEpochs = 20000;
  const Shuffle shuffle(1, kPictures);
  std::vector<double> at(kPictures * kPictures), after(kPictures * kPictures);
  for (std::int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const std::vector<std::int64_t> numbers = order(shuffle, epoch, kPictures);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      ++at[i * kPictures + static_cast<std::size_t>(numbers[i])];
      if (i > 0) ++after[static_cast<std::size_t>(numbers[i - 1] * kPictures + numbers[i])];
    }
  }
  const double expected = static_cast<double>(kEpochs) / kPictures;
  double chi2_at = 0, chi2_after = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    chi2_at += (at[i] - expected) * (at[i] - expected) / expected;
    if (i % (kPictures + 1) != 0)
      chi2_after += (after[i] - expected) * (after[i] - expected) / expected;
  }
  // Degrees of freedom: 19² = 361 (deviation 27), and about 380 (28).
  EXPECT_LT(chi2_at, 361 + 6 * 27);
  EXPECT_LT(chi2_after, 380 + 6 * 28);
}

TEST(Batches, GoThroughTheEpochsInOrder) {
  constexpr std::int64_t kPictures = 10, kBatch = 4;
  const Batches batches(numbered(kPictures), labels(kPictures), kBatch, /*seed=*/3);
  const Shuffle shuffle(3, kPictures);
  for (std::int64_t k = 0; k < 6; ++k) {
    const Batch b = batches.at(k);
    const Batch same = batches.at(Tensor::from<std::int64_t>({}, {k}));
    for (std::int64_t i = 0; i < kBatch; ++i) {
      const std::int64_t position = k * kBatch + i;
      const std::int64_t number = shuffle(position / kPictures, position % kPictures);
      EXPECT_EQ(b.labels.data<std::int64_t>()[i], number);
      EXPECT_EQ(same.labels.data<std::int64_t>()[i], number);
      EXPECT_EQ(to_bytes(b.x0).data<std::uint8_t>()[i], number);
    }
  }
}

TEST(Batches, DropLabelsAsOftenAsAsked) {
  const Batches batches(numbered(200), labels(200), 200, 3, /*null_label=*/1000, 0.25);
  double dropped = 0;
  for (std::int64_t k = 0; k < 50; ++k)
    dropped +=
        static_cast<double>(std::ranges::count(batches.at(k).labels.values<std::int64_t>(), 1000));
  EXPECT_NEAR(dropped / 10000, 0.25, 6 * std::sqrt(0.25 * 0.75 / 10000));
}

// Pictures of 2 x 3 pixels and two channels whose numbers tell where they are.
TEST(Batches, FlipMirrorsHalfByEpochAndPicture) {
  constexpr std::int64_t kPictures = 500, kPixels = 12;
  Tensor images({kPictures, 2, 3, 2}, DType::u8);
  for (std::int64_t i = 0; i < images.size(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i % kPixels * 20 + i / kPixels % 16);
  // Which pictures of an epoch are mirrored; batches of `batch`.
  const auto mirrored = [&](std::int64_t batch, std::int64_t epoch) {
    const Batches batches(images, labels(kPictures), batch, 7, {}, 0, true);
    std::vector<int> is(kPictures, -1);
    for (std::int64_t k = epoch * kPictures / batch; k < (epoch + 1) * kPictures / batch; ++k) {
      const Batch b = batches.at(k);
      const Tensor bytes = to_bytes(b.x0);
      for (std::int64_t i = 0; i < batch; ++i) {
        const std::int64_t number = b.labels.data<std::int64_t>()[i];
        const std::uint8_t *got = bytes.data<std::uint8_t>() + i * kPixels,
                           *picture = images.data<std::uint8_t>() + number * kPixels;
        const bool other = got[0] != picture[0];
        is[static_cast<std::size_t>(number)] = other;
        for (std::int64_t row = 0; row < 2; ++row)
          for (std::int64_t column = 0; column < 3; ++column)
            for (std::int64_t c = 0; c < 2; ++c)
              EXPECT_EQ(got[(row * 3 + column) * 2 + c],
                        picture[(row * 3 + (other ? 2 - column : column)) * 2 + c]);
      }
    }
    return is;
  };
  const std::vector<int> first = mirrored(5, 0), second = mirrored(5, 1);
  EXPECT_EQ(first, mirrored(50, 0));
  EXPECT_EQ(second, mirrored(50, 1));
  int count = 0, changed = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    ASSERT_GE(first[i], 0);
    count += first[i], changed += first[i] != second[i];
  }
  EXPECT_NEAR(count, 250, 5 * 11.2);  // binomial, deviation 11.2
  EXPECT_NEAR(changed, 250, 5 * 11.2);
}

}  // namespace
}  // namespace sfumato::data
