// The model that another one's answers are guided away from: --guide.
#pragma once
#include <optional>
#include <string>

#include "diffusion/pipeline.h"
#include "nn/precision.h"

namespace sfumato::apps {

// `guide` as --guide takes it: a folder, "earlier" for the model that a run in the folder `model` kept (RunFolder::keep_earlier),
// "" for none. Throws Error where there is none, and for one that cannot guide `pipeline`.
std::optional<diffusion::Pipeline> load_guide(const std::string& guide, const std::string& model,
                                              const diffusion::Pipeline& pipeline, Device device,
                                              const nn::Precision& precision);

}  // namespace sfumato::apps
