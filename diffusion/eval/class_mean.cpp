#include "diffusion/eval/class_mean.h"

#include <vector>

#include "tensor/error.h"

namespace sfumato::eval {

Tensor class_means(const data::ImageDataset& d) {
  if (d.classes < 1) throw Error("class_means", "the data has no labels");
  const std::int64_t n = d.images.dim(0), pixels = d.images.size() / n;
  std::vector<double> sums(static_cast<std::size_t>(d.classes * pixels)),
      counts(static_cast<std::size_t>(d.classes));
  const auto* labels = d.labels.data<std::int64_t>();
  const auto* images = d.images.data<std::uint8_t>();
  for (std::int64_t i = 0; i < n; ++i) {
    ++counts[static_cast<std::size_t>(labels[i])];
    double* sum = sums.data() + labels[i] * pixels;
    for (std::int64_t p = 0; p < pixels; ++p) sum[p] += images[i * pixels + p];
  }
  Tensor means = Tensor::zeros(d.images.shape().with(0, d.classes));
  for (std::int64_t c = 0; c < d.classes; ++c) {
    const double count = counts[static_cast<std::size_t>(c)];
    for (std::int64_t p = 0; p < pixels && count > 0; ++p)
      means.data<float>()[c * pixels + p] =
          static_cast<float>(sums[static_cast<std::size_t>(c * pixels + p)] / count / 127.5 - 1);
  }
  return means;
}

}  // namespace sfumato::eval
