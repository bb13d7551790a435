#include "apps/pairs.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <utility>

#include "apps/grid.h"
#include "apps/picture_file.h"
#include "diffusion/eval/neighbours.h"
#include "tensor/error.h"
#include "tensor/io/image.h"
#include "tensor/io/text.h"

namespace sfumato::apps {

ClosestPairs::ClosestPairs(std::string file, Tensor training)
    : file_(std::move(file)), training_(std::move(training)) {
  if (file_.empty()) return;
  if (std::filesystem::path(file_).extension() != ".png")
    throw Error("pairs", "expected the name of a PNG file, got " + io::in_quotes(file_));
  expect_writable(file_, PictureFile::grid, training_.shape().with(0, kColumns),
                  {.columns = kColumns}, 1);
}

void ClosestPairs::add(const Tensor& pictures) {
  if (file_.empty()) return;
  const std::vector<eval::Neighbours> found = eval::nearest(pictures, training_);
  std::vector<std::int64_t> order(found.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) {
    return found[static_cast<std::size_t>(i)].first_distance <
           found[static_cast<std::size_t>(j)].first_distance;
  });
  Tensor drawn(training_.shape().with(0, kColumns), DType::u8), real(drawn.shape(), DType::u8);
  for (std::int64_t i = 0; i < kColumns; ++i) {
    const std::int64_t at = order[static_cast<std::size_t>(i)];
    const std::int64_t to = found[static_cast<std::size_t>(at)].first;
    drawn.slice(i, i + 1).copy_from(pictures.slice(at, at + 1));
    real.slice(i, i + 1).copy_from(training_.slice(to, to + 1));
  }
  rows_.insert(rows_.end(), {drawn, real});
}

void ClosestPairs::write() const {
  if (file_.empty()) return;
  const auto rows = static_cast<std::int64_t>(rows_.size());
  Tensor all(training_.shape().with(0, rows * kColumns), DType::u8);
  for (std::int64_t i = 0; i < rows; ++i)
    all.slice(i * kColumns, (i + 1) * kColumns).copy_from(rows_[static_cast<std::size_t>(i)]);
  io::write_png(file_, make_grid(all, {.columns = kColumns}));
}

}  // namespace sfumato::apps
