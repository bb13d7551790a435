// What a training run does besides learning: progress, log, checkpoints, sample pictures, and the
// decision to stop. train.cpp holds the training loop, this the rest.
#pragma once
#include <chrono>

#include "apps/health.h"
#include "apps/progress.h"
#include "apps/run_folder.h"

namespace sfumato::apps {

// How long a run trains in all.
struct Budget {
  std::int64_t steps = 0;  // 0: by time
  double seconds = 0;
  // The share that is used up, in [0, 1]: of steps, or of time.
  double used(const TrainState& state) const;
};
// `pictures`: how many the data set has, for --epochs.
Budget make_budget(const TrainOptions& options, std::int64_t pictures);

class Journal {
 public:
  // The references must outlive the journal.
  Journal(const TrainOptions& options, RunFolder& folder, const diffusion::Pipeline& model,
          const nn::AdamW& adam, const nn::Ema& ema, TrainState& state, const Budget& budget);

  void print(const std::string& message) { progress_.print(message); }
  double progress() const { return budget_.used(state_); }
  // False when the budget is used up, after --stop-after steps, and after Ctrl-C or another signal
  // that asks to end (apps/interrupt.h).
  bool should_continue() const;
  // Call once in each step, when loss and gradient are known and the weights not yet changed: so a
  // checkpoint or a picture that is due is made only with weights whose loss is good. Throws Error
  // when loss or gradient are not finite.
  void before_update(double loss, double gradient_norm);
  // Call once after each step: counts it in `state`, and does what is due.
  void step_done(double loss, double gradient_norm, double learning_rate);
  // The last checkpoint, then pictures or the command that resumes.
  void finish();

 private:
  void save();
  [[noreturn]] void fail(const std::string& what) const;
  // False when a signal ended it; then no picture is written.
  bool draw_samples(const std::filesystem::path& path, std::int64_t rows) const;

  const TrainOptions& options_;
  RunFolder& folder_;
  const diffusion::Pipeline& model_;
  const nn::AdamW& adam_;
  const nn::Ema& ema_;
  TrainState& state_;
  ProgressLine progress_;
  const Budget budget_;
  Health health_;
  bool warned_ = false;  // that the loss explodes
  // Whether training has gone well from the state on disk, so that it is worth keeping.
  bool saved_is_good_ = false;
  std::int64_t saved_step_;
  const std::chrono::steady_clock::time_point begin_;
  const double seconds_before_;  // of earlier processes
  const std::int64_t first_step_;
  double last_checkpoint_, last_samples_;  // in seconds of training
  double window_loss_ = 0;                 // summed since the last log line
  std::int64_t window_ = 0;
};

}  // namespace sfumato::apps
