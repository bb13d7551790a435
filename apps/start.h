// How a run of `train` begins: a new one, or one that goes on.
#pragma once
#include <string>
#include <vector>

#include "apps/identity.h"
#include "apps/run_folder.h"
#include "apps/train_options.h"
#include "diffusion/data/dataset.h"
#include "diffusion/pipeline.h"

namespace sfumato::apps {

struct Run {
  TrainOptions options, recorded;  // the same, unless --resume restates some
  RunFolder folder;
  data::ImageDataset data;
  DataIdentity identity;
  std::vector<std::string> notes;  // for the user
  diffusion::Pipeline model;
};

// Reads data and model and makes or opens the folder; the model's parameters are on the device, as --precision wants
// them. Prints what the user should know. Throws Error before anything is made or changed.
Run start(const TrainOptions& asked, Device device);

double learning_rate(const TrainOptions& options, const TrainState& state, double progress);

// How the learning rate jumps where --resume has restated it, or the budget that its cosine goes
// by; empty where it does not.
std::string learning_rate_note(const Run& run, const TrainState& state);

}  // namespace sfumato::apps
