// What a training run does besides learning: it shows its progress, logs, checkpoints, draws
// samples, and knows when to end. train.cpp keeps the lesson, this the rest.
#pragma once
#include <chrono>

#include "apps/progress.h"
#include "apps/run_folder.h"

namespace sfumato::apps {

class Journal {
 public:
  // `pictures`: how many the data set has, for --epochs. The references must outlive the journal.
  Journal(const TrainOptions& options, RunFolder& folder, const diffusion::Pipeline& model,
          const nn::AdamW& adam, const nn::Ema& ema, TrainState& state, std::int64_t pictures);

  void say(const std::string& message) { progress_.say(message); }
  // The share of the budget that is used up, in [0, 1]: of steps, or of time.
  double progress() const;
  // False when the budget is used up, after --stop-after steps, and after Ctrl-C.
  bool goes_on() const;
  // Call once after each step: counts it in `state`, and does what is due.
  void step_done(double loss, double gradient_norm, double learning_rate);
  // The last checkpoint, then pictures or the command that resumes.
  void finish();

 private:
  void draw_samples(const std::filesystem::path& path, std::int64_t rows) const;

  const TrainOptions& options_;
  RunFolder& folder_;
  const diffusion::Pipeline& model_;
  const nn::AdamW& adam_;
  const nn::Ema& ema_;
  TrainState& state_;
  ProgressLine progress_;
  std::int64_t budget_steps_ = 0;  // 0: by time
  double budget_seconds_ = 0;
  const std::chrono::steady_clock::time_point begin_;
  const double seconds_before_;  // of earlier processes
  const std::int64_t first_step_;
  double last_checkpoint_, last_samples_;  // in seconds of training
  double window_loss_ = 0;                 // summed since the last log line
  std::int64_t window_ = 0;
};

}  // namespace sfumato::apps
