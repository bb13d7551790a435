// `train --doctor`: what is wrong with a training, said while it runs.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/train_options.h"
#include "diffusion/data/batches.h"
#include "diffusion/data/dataset.h"
#include "diffusion/pipeline.h"
#include "diffusion/schedule.h"
#include "diffusion/times.h"

namespace sfumato::apps {

class Doctor {
 public:
  // How many steps lie between two examinations. One costs less than two training steps of 128 pictures.
  static constexpr std::int64_t kEvery = 500;

  // The references must outlive it. Where the data have a test split, over-fitting is looked for; `options` says where they
  // are.
  Doctor(const diffusion::Pipeline& model, const TrainOptions& options,
         const data::ImageDataset& train, const diffusion::Times& times);

  // Lines about the weights as they are at this step, and about how they changed since the last examination: loss per
  // range of t above what the best constant would reach, over-fitting, a learning rate too high or too low, dead
  // channels. Empty where all is well. Changes nothing.
  std::vector<std::string> examine(std::int64_t step);

  // A line about the first operation of the network that makes a number which is not finite, on the batch of this step or
  // of the one before: `conv2d of conv_in.weight`. For use once a loss is not finite.
  std::string first_non_finite(std::int64_t step, const data::Batches& batches) const;

 private:
  struct Loss {
    std::vector<double> network,
        constant;     // per range of t: of the network, and of the best constant
    double mean = 0;  // of the network, over all t
  };
  Loss loss(const data::Batches& batches, std::int64_t first) const;
  // On training pictures; adds a line for each convolution that has dead channels.
  Loss training_loss(std::vector<std::string>& lines) const;
  std::string non_finite_in(std::int64_t step, const data::Batch& batch) const;
  std::string parameter_at(const void* address) const;

  const diffusion::Pipeline& model_;
  const diffusion::Schedule schedule_;
  const diffusion::Times& times_;
  std::uint64_t seed_;
  data::Batches train_;
  std::optional<data::Batches> test_;
  Tensor weights_;  // at the last examination
  std::int64_t step_ = 0;
  double lowest_ = 0;
  std::int64_t examinations_ = 0;
};

// The learning-rate range test (Smith 2017, "Cyclical learning rates"): the rate rises from 1e-6 to 1 over 100 steps of
// the optimiser; the weights are put back. What it found, in a line: the rate at which the loss begins to grow, and a tenth of
// it to train with.
std::string find_learning_rate(diffusion::Pipeline& model, const TrainOptions& options,
                               const data::ImageDataset& train);

}  // namespace sfumato::apps
