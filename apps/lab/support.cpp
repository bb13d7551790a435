#include "apps/lab/support.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "apps/grid.h"
#include "autograd/flops.h"
#include "diffusion/training/training.h"
#include "nn/presets.h"

namespace sfumato::apps {
namespace {

eval::Classifier classifier_of(const LabSetting& setting) {
  const std::string& file = setting.options.classifier;
  return load_or_train_classifier(
      file.empty() ? cached_classifier(identify(setting.train)) : std::filesystem::path(file),
      setting.train, !file.empty());
}

}  // namespace

diffusion::Pipeline lab_model(const LabSetting& setting,
                              const diffusion::SchedulerConfig& scheduler, std::uint64_t seed,
                              std::int64_t rows_per_label) {
  const Shape& shape = setting.train.images.shape();
  diffusion::Pipeline model = diffusion::make_pipeline(
      nn::preset("small", shape[3], setting.train.classes * rows_per_label), scheduler, seed);
  model.network->sample_size = {shape[1], shape[2]};
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

LabJudge::LabJudge(const LabSetting& setting, std::vector<std::int64_t> labels)
    : labels_(std::move(labels)),
      real_(real_pictures(setting.train, labels_)),
      judge_(classifier_of(setting), setting.train, setting.test, labels_,
             {&eval::Metric::agreement, &eval::Metric::fd}) {}

LabJudge::Verdict LabJudge::operator()(const Tensor& pictures) const {
  const Judge::Measures measures = judge_(pictures, labels_);
  const double agreement = measures[0]->value;
  return {.agreement = agreement,
          .error = std::sqrt(agreement * (100 - agreement) / static_cast<double>(labels_.size())),
          .of_floor = *measures[1] / judge_.floors()[1].mean};
}

Cell distance_cell(const LabJudge::Verdict& verdict) { return Number{verdict.of_floor.value, 2}; }

Cell interval_cell(const LabJudge::Verdict& verdict) {
  return fmt::format("{:.2f} to {:.2f}", verdict.of_floor.low, verdict.of_floor.high);
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
