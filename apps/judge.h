// What judges drawn pictures: the classifier of diffusion/eval, kept between runs, and real pictures to compare with.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "diffusion/data/dataset.h"
#include "diffusion/eval/classifier.h"

namespace sfumato::apps {

// Where the classifier of this data is kept between runs: a name made from its pictures and labels,
// under $XDG_CACHE_HOME or ~/.cache. Empty where neither is known: it is then kept nowhere.
std::filesystem::path cached_classifier(const data::ImageDataset& data);

// From `file` if it is there, else trained on `data` and written there (nowhere if empty); what cannot be written is
// an Error only if `must_write`.
eval::Classifier load_or_train_classifier(const std::filesystem::path& file,
                                          const data::ImageDataset& data, bool must_write);

std::vector<std::int64_t> labels_of(const data::ImageDataset& data);

// As many pictures of the data as there are labels, picture i of class labels[i], none twice. Throws Error where the
// data has too few of a class.
Tensor real_pictures(const data::ImageDataset& data, const std::vector<std::int64_t>& labels);

}  // namespace sfumato::apps
