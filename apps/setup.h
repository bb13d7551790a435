// From options to the things a run is made of: the data, and a model that fits them.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "apps/train_options.h"
#include "diffusion/data/dataset.h"
#include "diffusion/pipeline.h"

namespace sfumato::apps {

// Where the running program is; empty where the system does not say.
std::filesystem::path program_folder();

// Where the bundled MNIST is, or an Error that says where it was looked for.
std::string bundled_mnist();

// `data` as --data takes it; "mnist" is the bundled one.
data::ImageDataset open_dataset(const std::string& data, const data::LoadOptions& options = {});

// How `train` and `evaluate` read the data. Throws Error for a size or background that is none.
data::LoadOptions load_options(const std::optional<std::string>& size,
                               const std::optional<std::string>& background);

// A new model for the data as the options ask: a preset, a config.json, or (--init) a trained one.
diffusion::Pipeline new_model(const TrainOptions& options, const data::ImageDataset& data);

// Throws Error unless the network takes an estimate of x_0 if and only if --self-condition says so, and the batch has two
// halves for it.
// Throws Error for an option that others leave without effect.
void expect_used(const TrainOptions& options);
void expect_self_condition(const diffusion::Pipeline& model, const TrainOptions& options);

// Makes the data fit the model: a black border with --pad, and the model then draws pictures of
// that size. Throws Error unless the model can train on these pictures and labels.
void fit(diffusion::Pipeline& model, data::ImageDataset& data, bool pad);

}  // namespace sfumato::apps
