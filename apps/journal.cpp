#include "apps/journal.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/generate.h"
#include "apps/grid.h"
#include "apps/interrupt.h"
#include "tensor/io/image.h"

namespace sfumato::apps {
namespace {

constexpr std::int64_t kLogEvery = 10;  // steps a line of metrics.jsonl averages over

}  // namespace

Journal::Journal(const TrainOptions& options, RunFolder& folder, const diffusion::Pipeline& model,
                 const nn::AdamW& adam, const nn::Ema& ema, TrainState& state,
                 std::int64_t pictures)
    : options_(options),
      folder_(folder),
      model_(model),
      adam_(adam),
      ema_(ema),
      state_(state),
      begin_(std::chrono::steady_clock::now()),
      seconds_before_(state.seconds),
      first_step_(state.step),
      last_checkpoint_(state.seconds),
      last_samples_(state.seconds) {
  if (options.steps) {
    budget_steps_ = *options.steps;
  } else if (options.epochs) {
    budget_steps_ = (*options.epochs * pictures + options.batch - 1) / options.batch;
  } else {
    budget_seconds_ = 60 * options.minutes.value_or(5);
  }
  folder_.open_metrics(state.step);
  catch_interrupts();
}

double Journal::progress() const {
  return std::min(1.0, budget_steps_
                           ? static_cast<double>(state_.step) / static_cast<double>(budget_steps_)
                           : state_.seconds / budget_seconds_);
}

bool Journal::goes_on() const {
  return progress() < 1 && !interrupted() &&
         !(options_.stop_after && state_.step - first_step_ >= *options_.stop_after);
}

void Journal::step_done(double loss, double gradient_norm, double learning_rate) {
  ++state_.step;
  state_.seconds = seconds_before_ +
                   std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  // An exponential average that begins as the plain one.
  const auto n = static_cast<double>(state_.step);
  const double keep = std::min(0.98, n / (n + 1));
  state_.smoothed = state_.step == 1 ? loss : keep * state_.smoothed + (1 - keep) * loss;
  window_loss_ += loss;
  ++window_;
  progress_.update(state_.step, budget_steps_, loss, state_.smoothed, state_.step * options_.batch,
                   progress(), state_.seconds);
  const bool ends = !goes_on();
  if (window_ == kLogEvery || ends) {
    folder_.log({state_.step, window_loss_ / static_cast<double>(window_), state_.smoothed,
                 learning_rate, gradient_norm, progress_.images_per_second(), state_.seconds});
    window_loss_ = 0;
    window_ = 0;
  }
  if (ends) return;  // finish() saves
  if (state_.seconds - last_checkpoint_ >= options_.checkpoint_every) {
    folder_.save(state_, model_, adam_, ema_);
    folder_.draw_loss_curve();
    last_checkpoint_ = state_.seconds;
  }
  if (options_.sample_every > 0 && state_.seconds - last_samples_ >= options_.sample_every) {
    draw_samples(folder_.samples() / fmt::format("step_{:06}.png", state_.step), 4);
    last_samples_ = state_.seconds;
  }
}

void Journal::finish() {
  folder_.save(state_, model_, adam_, ema_);
  folder_.draw_loss_curve();
  const std::string dir = folder_.dir().string();
  if (progress() < 1) {
    say(fmt::format("stopped at step {} with a checkpoint; go on with\n  sfumato train --resume {}",
                    state_.step, dir));
    return;
  }
  const auto grid = folder_.samples() / "final.png";
  draw_samples(grid, 8);
  say(fmt::format(
      "done: {} steps in {:.0f} s, smoothed loss {:.4f}\n  pictures: {}\n  loss curve: {}\n"
      "  more pictures: sfumato sample --model {} --out digits.png",
      state_.step, state_.seconds, state_.smoothed, grid.string(),
      (folder_.dir() / "loss.svg").string(), dir));
}

// A grid of the classes (or of 8 columns of pictures), with the moving average of the weights.
void Journal::draw_samples(const std::filesystem::path& path, std::int64_t rows) const {
  nn::SwapValues averaged(*model_.params, ema_.average);
  GenerateOptions options;
  GridOptions grid;
  const std::int64_t classes = model_.classes();
  grid.columns = classes > 0 ? std::min<std::int64_t>(classes, 16) : 8;
  for (std::int64_t i = 0; i < rows * grid.columns; ++i) options.labels.push_back(i % grid.columns);
  for (std::int64_t i = 0; classes > 0 && i < grid.columns; ++i)
    grid.headers.push_back(std::to_string(i));
  options.guidance = default_guidance(model_);
  options.steps = std::min<std::int64_t>(20, model_.scheduler.num_train_timesteps);
  io::write_png(path, make_grid(generate(model_, options), grid));
}

}  // namespace sfumato::apps
