// What a training run shows while it goes: one line that renews itself on a terminal, plain lines
// at intervals elsewhere.
#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

namespace sfumato::apps {

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  // `fraction` of the budget done in [0, 1]; `seconds` of training so far.
  void update(std::int64_t step, std::int64_t total_steps, double loss, double smoothed,
              std::int64_t images, double fraction, double seconds);
  // A message of its own line, above the progress line.
  void print(const std::string& message);
  double images_per_second() const { return rate_; }

 private:
  void clear();

  bool terminal_;
  bool shown_ = false;
  double last_print_ = -1e9, rate_ = 0;
  std::deque<std::pair<double, std::int64_t>> window_;  // (seconds, images) of the last while
};

}  // namespace sfumato::apps
