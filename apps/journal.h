// What a training run does besides learning: progress, log, checkpoints, sample pictures, and the
// decision to stop. train.cpp holds the training loop, this the rest.
#pragma once
#include <chrono>
#include <deque>

#include "apps/health.h"
#include "apps/progress.h"
#include "apps/run_folder.h"
#include "tensor/arrivals.h"

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
  // checkpoint or a picture that is due is made only with weights whose loss is good. `loss` and the
  // gradient's norm, each [], may arrive from a GPU some steps later, in order. Throws Error when one
  // that arrives is not finite.
  void before_update(const Tensor& loss, const Tensor& gradient_norm);
  // Call once after each step: counts it in `state`, and does what is due.
  void step_done(double learning_rate);
  // The last checkpoint, then pictures or the command that resumes.
  void finish();

 private:
  // What is known of a step before its loss has arrived, and what arrives.
  struct Done {
    std::int64_t step;
    double learning_rate, seconds;
  };
  struct Arrived {
    double loss, gradient_norm;
  };

  void arrive(const Arrived& step);
  void log_arrived();
  void log_step(const Done& step, const Arrived& arrived);
  void write_metrics();
  void save();
  [[noreturn]] void fail(const std::string& what, std::int64_t step) const;
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
  Arrivals arrivals_;
  std::int64_t arrived_steps_;   // steps whose loss is known, of all processes
  std::deque<Done> done_;        // steps to be logged, the oldest first
  std::deque<Arrived> arrived_;  // and their losses
  Metrics window_ = {};          // since the last log line: `loss` is a sum
  std::int64_t window_steps_ = 0;
};

}  // namespace sfumato::apps
