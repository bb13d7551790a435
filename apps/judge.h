// What judges drawn pictures: the classifier of diffusion/eval, kept between runs, real pictures to compare with, and
// the measures of both.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "apps/identity.h"
#include "diffusion/data/dataset.h"
#include "diffusion/eval/metric.h"

namespace sfumato::apps {

// Where the classifier of this data is kept between runs: a name made from its pictures and labels,
// under $XDG_CACHE_HOME or ~/.cache. Empty where neither is known: it is then kept nowhere.
std::filesystem::path cached_classifier(const DataIdentity& data);

// From `file` if it is there, else trained on `data` and written there (nowhere if empty); what cannot be written is
// an Error only if `must_write`. `optimizer` is what trains it (AdamW where nobody asked); throws Error for one that was asked
// for where `file` is there.
eval::Classifier load_or_train_classifier(const std::filesystem::path& file,
                                          const data::ImageDataset& data, bool must_write,
                                          const std::optional<nn::Optimizer>& optimizer = {});

std::vector<std::int64_t> labels_of(const data::ImageDataset& data);

// As many pictures of the data as there are labels, picture i of class labels[i], none twice: the first ones, or those
// that come first in the order of that `draw`. Throws Error where the data has too few of a class.
Tensor real_pictures(const data::ImageDataset& data, const std::vector<std::int64_t>& labels,
                     std::optional<std::int64_t> draw = {});

inline constexpr std::int64_t kFloorDraws = 5;

// Measures sets of pictures. Const calls are safe from one thread at a time.
class Judge {
 public:
  using Metrics = std::vector<const eval::Metric*>;
  // `labels` are those of the floor: what kFloorDraws sets of as many training pictures have. (Metrics whose floor is that of
  // test pictures: any of these, as many, or all.) Throws Error as real_pictures does.
  Judge(eval::Classifier classifier, const data::ImageDataset& train,
        const data::ImageDataset& test, const std::vector<std::int64_t>& labels, Metrics metrics);

  // One for each metric; none where it needs labels and there are none.
  using Measures = std::vector<std::optional<eval::Estimate>>;
  Measures operator()(const Tensor& pictures, const std::vector<std::int64_t>& labels,
                      std::int64_t resamples = eval::kResamples) const;

  // Of the draws: their mean and their standard deviation. (Draws overlap where the data has few pictures, and the
  // deviation is then too small.)
  struct Floor {
    double mean = 0, deviation = 0;
  };
  const std::vector<Floor>& floors() const { return floors_; }  // one for each metric
  const Metrics& metrics() const { return metrics_; }
  double test_accuracy() const { return test_accuracy_; }  // of the classifier, in per cent

 private:
  void measure_floors(const data::ImageDataset& train, const data::ImageDataset& test,
                      const std::vector<std::int64_t>& labels);

  eval::Classifier classifier_;
  Metrics metrics_;
  std::vector<eval::Measure> measures_;
  double test_accuracy_;
  std::vector<Floor> floors_;
};

}  // namespace sfumato::apps
