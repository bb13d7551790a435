#include "apps/judge.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>

#include "apps/notes.h"
#include "diffusion/data/shuffle.h"
#include "nn/checkpoint.h"
#include "tensor/error.h"
#include "tensor/io/file.h"
#include "tensor/io/text.h"

namespace sfumato::apps {
namespace {

constexpr std::uint64_t kDrawSeed = 1;

// On a terminal, one line that is written over.
void show_progress(std::int64_t step, std::int64_t steps) {
  if (!isatty(STDERR_FILENO) || (step % 100 != 0 && step != steps)) return;
  fmt::print(stderr, "\rtraining the classifier: {:.0f} %{}",
             100.0 * static_cast<double>(step) / static_cast<double>(steps),
             step == steps ? "\n" : "");
}

// As many rows, chosen at random by `draw`; all, where there are no more.
Tensor any_rows(const Tensor& all, std::int64_t count, std::int64_t draw) {
  const data::Shuffle shuffle(kDrawSeed, all.dim(0));
  Tensor rows(all.shape().with(0, std::min(count, all.dim(0))), all.dtype());
  for (std::int64_t i = 0; i < rows.dim(0); ++i) {
    const std::int64_t from = shuffle(draw, i);
    rows.slice(i, i + 1).copy_from(all.slice(from, from + 1));
  }
  return rows;
}

}  // namespace

std::filesystem::path cached_classifier(const DataIdentity& data) {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  std::filesystem::path folder;
  if (cache && *cache) {
    folder = cache;
  } else if (home && *home) {
    folder = std::filesystem::path(home) / ".cache";
  } else {
    return {};  // a folder that others can write to might hold a classifier of theirs
  }
  return folder / "sfumato" / fmt::format("classifier-{:016x}.safetensors", fingerprint(data));
}

eval::Classifier load_or_train_classifier(const std::filesystem::path& file,
                                          const data::ImageDataset& data, bool must_write,
                                          const std::optional<nn::Optimizer>& optimizer) {
  const auto train = [&] {
    return eval::train_classifier(data, show_progress, optimizer.value_or(nn::Optimizer::adamw));
  };
  if (file.empty()) return train();
  if (std::error_code ignored; std::filesystem::exists(file, ignored)) {
    if (optimizer)
      throw Error("evaluate", fmt::format("--optimizer {}: expected a classifier that is not there "
                                          "yet, {} is not trained again",
                                          optimizer->name, io::in_quotes(file.string())));
    eval::Classifier classifier(data.images.dim(3), data.classes);
    nn::load_parameters(classifier.params(), io::SafeTensors(file));
    return classifier;
  }
  eval::Classifier classifier = train();
  try {
    if (file.has_parent_path()) io::make_directories(file.parent_path());
    nn::save_parameters(classifier.params(), classifier.params().flat_values(), file);
  } catch (const Error& e) {
    if (must_write) throw;
    print_notes({fmt::format("the classifier is not kept for the next time: {}", e.what())});
  }
  return classifier;
}

std::vector<std::int64_t> labels_of(const data::ImageDataset& data) {
  const auto labels = data.labels.values<std::int64_t>();
  return {labels.begin(), labels.end()};
}

Tensor real_pictures(const data::ImageDataset& data, const std::vector<std::int64_t>& labels,
                     std::optional<std::int64_t> draw) {
  const std::vector<std::int64_t> all = labels_of(data);
  const auto n = static_cast<std::int64_t>(all.size());
  const data::Shuffle shuffle(kDrawSeed, n);
  std::vector<std::vector<std::int64_t>> of_class(static_cast<std::size_t>(data.classes));
  for (std::int64_t i = n - 1; i >= 0; --i) {  // the first ones are taken from the end
    const std::int64_t row = draw ? shuffle(*draw, i) : i;
    of_class[static_cast<std::size_t>(all[static_cast<std::size_t>(row)])].push_back(row);
  }
  Tensor pictures(data.images.shape().with(0, static_cast<std::int64_t>(labels.size())), DType::u8);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    std::vector<std::int64_t>& left = of_class[static_cast<std::size_t>(labels[i])];
    if (left.empty())
      throw Error("evaluate", fmt::format("--count {}: the data has too few pictures of class {}",
                                          labels.size(), labels[i]));
    const auto to = static_cast<std::int64_t>(i);
    pictures.slice(to, to + 1).copy_from(data.images.slice(left.back(), left.back() + 1));
    left.pop_back();
  }
  return pictures;
}

Judge::Judge(eval::Classifier classifier, const data::ImageDataset& train,
             const data::ImageDataset& test, const std::vector<std::int64_t>& labels,
             Metrics metrics)
    : classifier_(std::move(classifier)), metrics_(std::move(metrics)), floors_(metrics_.size()) {
  const eval::Predictions seen = eval::classify(classifier_, test.images);
  test_accuracy_ = eval::accuracy(seen, labels_of(test));
  const auto count = static_cast<std::int64_t>(labels.size());
  const eval::Real real{seen.features, any_rows(seen.features, count, 0), train.images};
  for (const eval::Metric* metric : metrics_) measures_.push_back(metric->against(real));
  measure_floors(train, test, labels);
}

void Judge::measure_floors(const data::ImageDataset& train, const data::ImageDataset& test,
                           const std::vector<std::int64_t>& labels) {
  const auto count = static_cast<std::int64_t>(labels.size());
  std::vector<std::vector<double>> values(metrics_.size());
  for (std::int64_t d = 0; d < kFloorDraws; ++d) {
    const Tensor drawn = real_pictures(train, labels, d);
    const eval::Judged set{drawn, eval::classify(classifier_, drawn), labels};
    const eval::Judged unseen{any_rows(test.images, count, d), {}, {}};
    for (std::size_t m = 0; m < metrics_.size(); ++m)
      values[m].push_back(measures_[m](metrics_[m]->floor_of_test ? unseen : set, 0).value);
  }
  for (std::size_t m = 0; m < metrics_.size(); ++m) {
    Floor& floor = floors_[m];
    for (const double value : values[m]) floor.mean += value / kFloorDraws;
    for (const double value : values[m])
      floor.deviation += std::pow(value - floor.mean, 2) / (kFloorDraws - 1);
    floor.deviation = std::sqrt(floor.deviation);
  }
}

Judge::Measures Judge::operator()(const Tensor& pictures, const std::vector<std::int64_t>& labels,
                                  std::int64_t resamples) const {
  const eval::Judged set{pictures, eval::classify(classifier_, pictures), labels};
  Measures measures;
  for (std::size_t m = 0; m < metrics_.size(); ++m) {
    if (metrics_[m]->needs_labels && labels.empty())
      measures.emplace_back();
    else
      measures.emplace_back(measures_[m](set, resamples));
  }
  return measures;
}

}  // namespace sfumato::apps
