// What a model's answers are guided by: --guide, another model or a classifier.
#pragma once
#include <optional>
#include <string>

#include "diffusion/generate.h"
#include "diffusion/pipeline.h"
#include "nn/precision.h"

namespace sfumato::apps {

// `guide` as --guide takes it where that is a model: a folder, "earlier" for the model that a run in the folder `model` kept (RunFolder::keep_earlier),
// "" for none. Throws Error where there is none, and for one that cannot guide `pipeline`.
std::optional<diffusion::Pipeline> load_guide(const std::string& guide, const std::string& model,
                                              const diffusion::Pipeline& pipeline, Device device,
                                              const nn::Precision& precision);

// What --guide says for a classifier.
inline constexpr const char* kClassifierGuide = "classifier";

// The classifier in `file`, or (file "") the one that `evaluate` has kept of the data of the run in `model`. Throws Error
// where there is none, naming the option that takes a file, and for one that knows other pictures or classes than the pipeline.
diffusion::PictureClassifier load_picture_classifier(const std::string& file, const char* option,
                                                     const std::string& model,
                                                     const diffusion::Pipeline& pipeline,
                                                     Device device);

}  // namespace sfumato::apps
