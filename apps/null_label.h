// The row of the class table that stands for "no class": label dropout trains it, guidance needs
// it.
#pragma once
#include "apps/train_options.h"
#include "diffusion/data/dataset.h"
#include "diffusion/pipeline.h"

namespace sfumato::apps {

// Whether label i is on a picture of the data.
bool has_pictures(const data::ImageDataset& data, std::int64_t label);

// Sets the null label of the network for training on `data`: --null-label, else what the model says, else the
// last row if no picture has it, else, where --label-dropout asks for it, a new row that begins as
// the mean of the others. What was chosen is a line in model.notes. Nothing happens without labels
// or a table. Throws Error for a --null-label that is not a row, or that pictures have.
void choose_null_label(diffusion::Pipeline& model, const TrainOptions& options,
                       const data::ImageDataset& data);

}  // namespace sfumato::apps
