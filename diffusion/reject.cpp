#include "diffusion/reject.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "autograd/ops.h"
#include "diffusion/data/batches.h"
#include "tensor/argmax.h"

namespace sfumato::diffusion {
namespace {

void expect_readable(const GenerateOptions& o, const PictureClassifier& classifier,
                     const Rejection& rejection) {
  if (rejection.tries < 1)
    throw Error("sample", fmt::format("expected at least one try, got {}", rejection.tries));
  if (!(rejection.confidence >= 0 && rejection.confidence <= 1))
    throw Error("sample",
                fmt::format("expected a confidence from 0 to 1, got {}", rejection.confidence));
  if (!o.mix.empty())
    throw Error("sample", "a classifier reads one class: expected no second one beside tries");
  if (o.on_step) throw Error("sample", "steps cannot be shown of pictures that may be drawn again");
  for (const std::int64_t label : o.labels) classifier.expect_class(label);
}

// Which of the pictures u8 [N,H,W,C] are accepted as their labels.
std::vector<bool> accepted(const PictureClassifier& classifier, const Tensor& pictures,
                           const GenerateOptions& o, double confidence, Device device) {
  NoGrad no_grad;
  std::vector<bool> accepted;
  for (std::int64_t begin = 0; begin < pictures.dim(0); begin += o.batch) {
    const Tensor some = pictures.slice(begin, std::min(pictures.dim(0), begin + o.batch));
    const Tensor p =
        softmax(classifier.logits(data::to_signed(some).to(device))).value().to(Device::cpu);
    const float* of_classes = p.data<float>();
    for (const std::int64_t c : argmax_of_rows(p)) {
      accepted.push_back(c == o.labels[accepted.size()] && of_classes[c] >= confidence);
      of_classes += p.dim(1);
    }
  }
  return accepted;
}

}  // namespace

Read generate_read(const Pipeline& model, const GenerateOptions& options,
                   const PictureClassifier& classifier, const Rejection& rejection) {
  expect_readable(options, classifier, rejection);
  expect_drawable(model, options);
  Read read{Tensor(picture_shape(model, options), DType::u8)};
  std::vector<std::int64_t> rows(options.labels.size());  // the pictures of this round
  std::iota(rows.begin(), rows.end(), 0);
  GenerateOptions round = options;
  for (std::int64_t k = 0; k < rejection.tries && !rows.empty(); ++k) {
    round.seed = options.seed + (static_cast<std::uint64_t>(k) << 32);
    const Tensor pictures = generate(model, round);
    const std::vector<bool> good =
        accepted(classifier, pictures, round, rejection.confidence, model.params->kind().device);
    if (k > 0) read.drawn_again += pictures.dim(0);
    std::vector<std::int64_t> misread;
    for (std::int64_t i = 0; i < pictures.dim(0); ++i) {
      const std::int64_t row = rows[static_cast<std::size_t>(i)];
      read.pictures.slice(row, row + 1).copy_from(pictures.slice(i, i + 1));
      if (!good[static_cast<std::size_t>(i)]) misread.push_back(row);
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
