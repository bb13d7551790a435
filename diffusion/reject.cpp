#include "diffusion/reject.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "diffusion/data/batches.h"
#include "tensor/argmax.h"

namespace sfumato::diffusion {
namespace {

void expect_readable(const GenerateOptions& o, const PictureClassifier& classifier,
                     std::int64_t tries) {
  if (tries < 1) throw Error("sample", fmt::format("expected at least one try, got {}", tries));
  if (!o.mix.empty())
    throw Error("sample", "a classifier reads one class: expected no second one beside tries");
  if (o.on_step) throw Error("sample", "steps cannot be shown of pictures that may be drawn again");
  for (const std::int64_t label : o.labels) classifier.expect_class(label);
}

// The most likely class of each picture u8 [N,H,W,C].
std::vector<std::int64_t> classes_read(const PictureClassifier& classifier, const Tensor& pictures,
                                       std::int64_t batch, Device device) {
  NoGrad no_grad;
  std::vector<std::int64_t> classes;
  for (std::int64_t begin = 0; begin < pictures.dim(0); begin += batch) {
    const Tensor some = pictures.slice(begin, std::min(pictures.dim(0), begin + batch));
    const Tensor logits =
        classifier.logits(data::to_signed(some).to(device)).value().to(Device::cpu);
    for (const std::int64_t c : argmax_of_rows(logits)) classes.push_back(c);
  }
  return classes;
}

}  // namespace

Read generate_read(const Pipeline& model, const GenerateOptions& options,
                   const PictureClassifier& classifier, std::int64_t tries) {
  expect_readable(options, classifier, tries);
  expect_drawable(model, options);
  Read read{Tensor(picture_shape(model, options), DType::u8)};
  std::vector<std::int64_t> rows(options.labels.size());  // the pictures of this round
  std::iota(rows.begin(), rows.end(), 0);
  GenerateOptions round = options;
  for (std::int64_t k = 0; k < tries && !rows.empty(); ++k) {
    round.seed = options.seed + (static_cast<std::uint64_t>(k) << 32);
    const Tensor pictures = generate(model, round);
    const std::vector<std::int64_t> classes =
        classes_read(classifier, pictures, options.batch, model.params->kind().device);
    if (k > 0) read.drawn_again += pictures.dim(0);
    std::vector<std::int64_t> misread;
    for (std::int64_t i = 0; i < pictures.dim(0); ++i) {
      const std::int64_t row = rows[static_cast<std::size_t>(i)];
      read.pictures.slice(row, row + 1).copy_from(pictures.slice(i, i + 1));
      if (classes[static_cast<std::size_t>(i)] != round.labels[static_cast<std::size_t>(i)])
        misread.push_back(row);
    }
    rows = std::move(misread);
    round.labels.clear();
    for (const std::int64_t row : rows)
      round.labels.push_back(options.labels[static_cast<std::size_t>(row)]);
  }
  read.misread = static_cast<std::int64_t>(rows.size());
  return read;
}

}  // namespace sfumato::diffusion
