#include "apps/lab/support.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "apps/grid.h"
#include "apps/judge.h"
#include "autograd/flops.h"
#include "diffusion/eval/frechet.h"
#include "diffusion/training/training.h"
#include "nn/presets.h"

namespace sfumato::apps {

diffusion::Pipeline lab_model(const LabSetting& setting,
                              const diffusion::SchedulerConfig& scheduler, std::uint64_t seed,
                              std::int64_t rows_per_label) {
  const Shape& shape = setting.train.images.shape();
  diffusion::Pipeline model = diffusion::make_pipeline(
      nn::preset("small", shape[3], setting.train.classes * rows_per_label), scheduler, seed);
  model.sample_size = {shape[1], shape[2]};
  return model;
}

diffusion::Pipeline copy_of(const LabSetting& setting, const diffusion::Pipeline& model) {
  diffusion::Pipeline copy = lab_model(setting, model.scheduler, setting.options.seed);
  diffusion::copy_weights(model, copy);
  return copy;
}

std::vector<std::int64_t> labels_in_turn(const LabSetting& setting, std::int64_t count) {
  const std::vector<std::int64_t> used = data::used_labels(setting.train);
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < count; ++i)
    labels.push_back(used[static_cast<std::size_t>(i) % used.size()]);
  return labels;
}

Judge::Judge(const LabSetting& setting, std::vector<std::int64_t> labels)
    : labels_(std::move(labels)),
      real_(real_pictures(setting.train, labels_)),
      classifier_(classifier_of(setting)),
      test_features_(eval::classify(classifier_, setting.test.images).features),
      floor_(eval::frechet_distance(eval::classify(classifier_, real_).features, test_features_)) {}

eval::Classifier Judge::classifier_of(const LabSetting& setting) {
  const std::string& file = setting.options.classifier;
  return load_or_train_classifier(
      file.empty() ? cached_classifier(setting.train) : std::filesystem::path(file), setting.train,
      !file.empty());
}

Judge::Verdict Judge::operator()(const Tensor& pictures) const {
  const eval::Predictions p = eval::classify(classifier_, pictures);
  const double share = eval::accuracy(p, labels_) / 100;
  return {.agreement = 100 * share,
          .error = 100 * std::sqrt(share * (1 - share) / static_cast<double>(labels_.size())),
          .of_floor = eval::frechet_distance(p.features, test_features_) / floor_};
}

double count_flop(const std::function<void()>& f) {
  NoGrad no_grad;
  FlopCounter counter;
  f();
  return counter.total;
}

Tensor picture_of_rows(const std::vector<Tensor>& sets, std::int64_t columns) {
  for (const Tensor& set : sets) columns = std::min(columns, set.dim(0));
  const auto rows = static_cast<std::int64_t>(sets.size());
  Tensor all(sets[0].shape().with(0, rows * columns), DType::u8);
  for (std::int64_t i = 0; i < rows; ++i)
    all.slice(i * columns, (i + 1) * columns)
        .copy_from(sets[static_cast<std::size_t>(i)].slice(0, columns));
  return make_grid(all, {.columns = columns, .zoom = 3});
}

}  // namespace sfumato::apps
