// What several labs need: models for their data, and a judge of what they draw.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "apps/judge.h"
#include "apps/lab/lab.h"
#include "diffusion/pipeline.h"

namespace sfumato::apps {

inline constexpr std::int64_t kLabBatch = 32;

// A new U-Net `small` for the data, told the label and predicting v, or what `scheduler` says.
diffusion::Pipeline lab_model(const LabSetting& setting,
                              const diffusion::SchedulerConfig& scheduler, std::uint64_t seed,
                              std::int64_t rows_per_label = 1);

// The same network with the same weights.
diffusion::Pipeline copy_of(const LabSetting& setting, const diffusion::Pipeline& model);

// The classes 0, 1, ... in turn.
std::vector<std::int64_t> labels_in_turn(const LabSetting& setting, std::int64_t count);

// Agreement and Fréchet distance of as many pictures as there are labels (docs/evaluation.md).
class LabJudge {
 public:
  LabJudge(const LabSetting& setting, std::vector<std::int64_t> labels);

  struct Verdict {
    double agreement, error;  // in per cent: pictures read as asked, and its standard error
    // Fréchet distance to the test pictures, over the mean of the floor's draws, with its 95 % interval
    eval::Estimate of_floor;
  };
  Verdict operator()(const Tensor& pictures) const;

  const std::vector<std::int64_t>& labels() const { return labels_; }
  const Tensor& real() const { return real_; }  // training pictures of these labels

 private:
  std::vector<std::int64_t> labels_;
  Tensor real_;
  Judge judge_;
};

// The two columns of Fréchet distances, and their cells.
inline constexpr const char *kDistanceColumn = "Frechet / floor", *kIntervalColumn = "95 %";
Cell distance_cell(const LabJudge::Verdict& verdict);
Cell interval_cell(const LabJudge::Verdict& verdict);

// Seconds since the last call.
class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Floating-point operations of f(), without a backward pass (autograd/flops.h).
double count_flop(const std::function<void()>& f);

// The first `columns` pictures of each set as a row of a grid.
Tensor picture_of_rows(const std::vector<Tensor>& sets, std::int64_t columns);

}  // namespace sfumato::apps
