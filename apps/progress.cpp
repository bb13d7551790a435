#include "apps/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace sfumato::apps {
namespace {

constexpr double kTerminalEvery = 0.2, kPlainEvery = 10, kWindow = 8;  // seconds

std::string duration(double seconds) {
  const std::int64_t s = std::lround(std::max(0.0, seconds));
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

// Training goes on when nobody can read this: a closed terminal, a full disk.
void show(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) std::clearerr(stdout);
}

}  // namespace

ProgressLine::ProgressLine() : terminal_(isatty(STDOUT_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (shown_) show("\n");
}

void ProgressLine::clear() {
  if (shown_) show("\r\033[K");
  shown_ = false;
}

void ProgressLine::print(const std::string& message) {
  clear();
  show(message + "\n");
}

void ProgressLine::update(std::int64_t step, std::int64_t total_steps, double loss, double smoothed,
                          std::int64_t images, double fraction, double seconds) {
  window_.emplace_back(seconds, images);
  while (window_.size() > 2 && window_.front().first < seconds - kWindow) window_.pop_front();
  const double span = seconds - window_.front().first;
  if (span > 0) rate_ = static_cast<double>(images - window_.front().second) / span;
  if (seconds - last_print_ < (terminal_ ? kTerminalEvery : kPlainEvery) && fraction < 1) return;
  last_print_ = seconds;

  const std::string steps =
      total_steps > 0 ? fmt::format("{}/{}", step, total_steps) : fmt::format("{}", step);
  const std::string left = fraction > 0 ? duration(seconds * (1 - fraction) / fraction) : "?";
  const std::string line =
      fmt::format("step {}  loss {:.4f}  smoothed {:.4f}  {:.0f} images/s  {:.0f} %  {} left",
                  steps, loss, smoothed, rate_, 100 * fraction, left);
  show(terminal_ ? "\r\033[K" + line : line + "\n");
  shown_ = terminal_;
}

}  // namespace sfumato::apps
