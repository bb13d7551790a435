#include "apps/null_label.h"

#include <fmt/format.h>

#include <utility>

namespace sfumato::apps {
namespace {

// Copies the rows of `from`, one fewer than `to` has; the last becomes their mean.
void copy_and_append_mean(const Tensor& from, Tensor to) {
  const std::int64_t rows = from.dim(0), width = from.size() / rows;
  to.slice(0, rows).copy_from(from);
  float* last = to.data<float>() + rows * width;
  for (std::int64_t j = 0; j < width; ++j) {
    double sum = 0;
    for (std::int64_t i = 0; i < rows; ++i) sum += from.data<float>()[i * width + j];
    last[j] = static_cast<float>(sum / static_cast<double>(rows));
  }
}

// The same network with one row more in its class table.
diffusion::Pipeline with_another_row(diffusion::Pipeline model) {
  const std::int64_t row = model.conditioning().rows;
  diffusion::Pipeline larger = diffusion::make_pipeline(
      [&](const nn::Scope& scope) { return model.network->with_rows(scope, row + 1); },
      model.scheduler, 0);
  larger.network->conditioning.null_label = row;
  larger.network->sample_size = model.network->sample_size;
  larger.scheduler_found = model.scheduler_found;
  larger.class_names = std::move(model.class_names);
  larger.notes = std::move(model.notes);
  for (std::size_t i = 0; i < model.params->entries().size(); ++i) {
    const Tensor& from = model.params->entries()[i].value;
    Tensor to = larger.params->entries()[i].value;  // a handle to the parameter's own storage
    if (from.shape() == to.shape()) {
      to.copy_from(from);
    } else {
      copy_and_append_mean(from, to);
    }
  }
  return larger;
}

}  // namespace

bool has_pictures(const data::ImageDataset& data, std::int64_t label) {
  return label < data.classes && !data.class_names[static_cast<std::size_t>(label)].empty();
}

void choose_null_label(diffusion::Pipeline& model, const TrainOptions& o,
                       const data::ImageDataset& data) {
  nn::Conditioning& conditioning = model.network->conditioning;
  if (!conditioning.has_table() || data.classes == 0) return;
  const std::int64_t rows = conditioning.rows;
  if (o.null_label) {
    if (*o.null_label >= rows)
      throw Error("train", fmt::format("--null-label {}: expected a row of the class table, 0..{}",
                                       *o.null_label, rows - 1));
    if (has_pictures(data, *o.null_label))
      throw Error("train", fmt::format("--null-label {}: pictures of the data have this label",
                                       *o.null_label));
    conditioning.null_label = o.null_label;
    return;
  }
  if (conditioning.null_label || o.label_dropout == 0.0) return;
  if (rows > data.classes) {
    conditioning.null_label = rows - 1;
    model.notes.push_back(fmt::format(
        "row {} of the class table, which no picture has, stands for 'no class' (--null-label "
        "chooses another)",
        rows - 1));
  } else if (o.label_dropout) {
    model = with_another_row(std::move(model));
    model.notes.push_back(fmt::format(
        "the class table has a new row for 'no class': {} rows instead of {}", rows + 1, rows));
  } else {
    model.notes.push_back(
        "the class table has no free row for 'no class': no labels are hidden, and the model "
        "cannot be guided (--label-dropout 0.1 adds a row)");
  }
}

}  // namespace sfumato::apps
