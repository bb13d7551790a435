#include "common/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "diffusion/data/batches.h"
#include "diffusion/data/dataset.h"
#include "tensor/rng.h"

namespace exercises {
namespace {

constexpr std::size_t kSide = 28;

// Beside each other: rows of letters, each `width` wide.
void print_rows(const std::vector<std::vector<std::string>>& drawings,
                const std::vector<std::string>& captions, std::size_t width) {
  for (std::size_t row = 0; row < drawings[0].size(); ++row) {
    for (const auto& drawing : drawings) fmt::print("  {}", drawing[row]);
    fmt::print("\n");
  }
  for (const std::string& caption : captions) fmt::print("  {:<{}}", caption, width);
  fmt::print("\n\n");
}

char letter(double darkness) {  // 0 .. 1
  constexpr std::string_view kLetters = " .:-=+*#%@";
  const double i = darkness * static_cast<double>(kLetters.size());
  return kLetters[static_cast<std::size_t>(std::clamp(i, 0.0, 9.0))];
}

}  // namespace

std::vector<Picture> digits(std::size_t count) {
  const auto set =
      sfumato::data::load_dataset(EXERCISES_DATA "/mnist", {.split = sfumato::data::Split::test});
  const sfumato::Tensor images =
      sfumato::data::to_signed(set.images.slice(0, static_cast<std::int64_t>(count)));
  const auto values = images.values<float>();
  std::vector<Picture> pictures;
  for (std::size_t i = 0; i < count; ++i)
    pictures.emplace_back(values.begin() + static_cast<std::ptrdiff_t>(i * kSide * kSide),
                          values.begin() + static_cast<std::ptrdiff_t>((i + 1) * kSide * kSide));
  return pictures;
}

std::vector<double> normal_numbers(std::uint64_t seed, std::size_t count) {
  const sfumato::Tensor numbers =
      sfumato::Rng(seed, sfumato::Purpose::noise)
          .normal({static_cast<std::int64_t>(count)}, sfumato::DType::f64);
  const auto values = numbers.values<double>();
  return {values.begin(), values.end()};
}

void print(const std::vector<Picture>& pictures, const std::vector<std::string>& captions) {
  std::vector<std::vector<std::string>> drawings;
  for (const Picture& picture : pictures) {
    std::vector<std::string>& rows = drawings.emplace_back(kSide / 2, std::string(kSide, ' '));
    for (std::size_t i = 0; i < kSide / 2; ++i)  // a letter is about twice as high as wide
      for (std::size_t j = 0; j < kSide; ++j) {
        const double mean = (picture[2 * i * kSide + j] + picture[(2 * i + 1) * kSide + j]) / 2;
        rows[i][j] = letter((mean + 1) / 2);
      }
  }
  print_rows(drawings, captions, kSide);
}

void print_points(const std::vector<std::vector<double>>& xs,
                  const std::vector<std::vector<double>>& ys, double extent,
                  const std::vector<std::string>& captions) {
  constexpr int kWidth = 36, kHeight = 18;
  std::vector<std::vector<std::string>> drawings;
  for (std::size_t d = 0; d < xs.size(); ++d) {
    std::vector<int> count(kWidth * kHeight, 0);
    for (std::size_t i = 0; i < xs[d].size(); ++i) {
      const auto column = static_cast<int>(std::floor((xs[d][i] / extent + 1) / 2 * kWidth));
      const auto row = static_cast<int>(std::floor((1 - ys[d][i] / extent) / 2 * kHeight));
      if (column >= 0 && column < kWidth && row >= 0 && row < kHeight)
        ++count[row * kWidth + column];
    }
    const double most = *std::max_element(count.begin(), count.end());
    std::vector<std::string>& rows = drawings.emplace_back(kHeight, std::string(kWidth, ' '));
    for (int i = 0; i < kHeight; ++i)
      for (int j = 0; j < kWidth; ++j)
        if (const int n = count[i * kWidth + j]) rows[i][j] = letter(0.1 + 0.9 * n / most);
  }
  print_rows(drawings, captions, kWidth);
}

}  // namespace exercises
