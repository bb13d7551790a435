#include "apps/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/grid.h"
#include "apps/interrupt.h"
#include "diffusion/generate.h"
#include "tensor/io/image.h"

namespace sfumato::apps {
namespace {

constexpr std::int64_t kLogEvery = 10;  // steps a line of metrics.jsonl averages over

std::string shown(double v) { return std::isnan(v) ? "nan" : fmt::format("{}", v); }  // no -nan

// The budget that trains twice as long as the run has trained.
std::string twice_the_budget(const TrainOptions& o, const Budget& budget, const TrainState& state) {
  if (o.steps) return fmt::format("--steps {}", 2 * state.step);
  if (o.epochs)
    return fmt::format("--epochs {}",
                       2 * *o.epochs * ((state.step + budget.steps - 1) / budget.steps));
  return fmt::format("--minutes {:.4g}", 2 * state.seconds / 60);
}

}  // namespace

double Budget::used(const TrainState& state) const {
  return std::min(1.0, steps ? static_cast<double>(state.step) / static_cast<double>(steps)
                             : state.seconds / seconds);
}

Budget make_budget(const TrainOptions& options, std::int64_t pictures) {
  if (options.steps) return {.steps = *options.steps};
  if (options.epochs)
    return {.steps = (*options.epochs * pictures + options.pictures_a_step() - 1) /
                     options.pictures_a_step()};
  return {.seconds = 60 * options.minutes.value_or(kMinutes)};
}

Journal::Journal(const TrainOptions& options, RunFolder& folder, const diffusion::Pipeline& model,
                 const nn::AdamW& adam, const nn::Ema& ema, TrainState& state, const Budget& budget)
    : options_(options),
      folder_(folder),
      model_(model),
      adam_(adam),
      ema_(ema),
      state_(state),
      budget_(budget),
      saved_step_(state.step),
      begin_(std::chrono::steady_clock::now()),
      seconds_before_(state.seconds),
      first_step_(state.step),
      last_checkpoint_(state.seconds),
      last_samples_(state.seconds),
      arrivals_(model.params->kind().device, 2,
                [this](std::span<const double> row) {
                  arrive({row[0], row[1]});
                }),
      arrived_steps_(state.step) {
  folder_.open_metrics(state.step);
  if (options.tensorboard) folder_.open_events(state.step);
  catch_interrupts();
}

bool Journal::should_continue() const {
  return progress() < 1 && !interrupted() &&
         !(options_.stop_after && state_.step - first_step_ >= *options_.stop_after);
}

void Journal::before_update(const Tensor& loss, const Tensor& gradient_norm) {
  arrivals_.send({loss, gradient_norm});
  const bool draws =
      options_.sample_every > 0 && state_.seconds - last_samples_ >= options_.sample_every;
  const bool saves = state_.seconds - last_checkpoint_ >= options_.checkpoint_every;
  if (!draws && !saves) return;
  arrivals_.drain();
  // Before a drawing too: it takes long, and a signal meanwhile must cost nothing.
  if (!health_.exploding() && state_.step > saved_step_) save();
  if (!draws) return;
  draw_samples(folder_.samples() / fmt::format("step_{:06}.png", state_.step), 4);
  last_samples_ = state_.seconds;
}

void Journal::arrive(const Arrived& step) {
  ++arrived_steps_;
  if (!std::isfinite(step.loss) || !std::isfinite(step.gradient_norm))
    fail(fmt::format("the loss is {} and the gradient's norm {}", shown(step.loss),
                     shown(step.gradient_norm)),
         arrived_steps_);
  health_.look(step.loss, state_.smoothed);
  if (health_.exploding()) {
    if (!warned_)
      print(fmt::format("note: step {}: {}: until it falls again, the checkpoint of step {} stays",
                        arrived_steps_ - 1, health_.reason(), saved_step_));
    warned_ = true;
  } else {
    saved_is_good_ = true;
  }
  arrived_.push_back(step);
  log_arrived();
}

void Journal::save() {
  folder_.save(state_, model_, adam_, ema_, saved_is_good_);
  // A checkpoint may be late, but one of the second half is too good to guide the last one.
  if (progress() >= 0.25 && progress() < 0.5) folder_.keep_earlier(model_, ema_);
  folder_.draw_loss_curve();
  last_checkpoint_ = state_.seconds;
  saved_step_ = state_.step;
}

// Training cannot go on: who is to blame, and from where to go on.
void Journal::fail(const std::string& what, std::int64_t step) const {
  const std::string weight = non_finite_weight(*model_.params);
  const std::string dir = folder_.dir().string();
  if (step == first_step_ + 1) {  // nothing has been learned here yet
    const std::string start = first_step_ > 0         ? "the checkpoint in " + dir
                              : options_.init.empty() ? "the new network"
                                                      : "--init " + options_.init;
    throw Error("train",
                fmt::format("step {}: {} before any update: {}", step, what,
                            weight.empty() ? fmt::format("the weights of {} are too large", start)
                                           : fmt::format("of {}, {}", start, weight)));
  }
  throw Error(
      "train",
      fmt::format(
          "step {}: {}: training has diverged{}; the checkpoint of step {} in {} is intact: "
          "go on from it with a smaller learning rate than {}, `sfumato train --resume {} "
          "--lr {:.2g}`",
          step, what, weight.empty() ? "" : " (" + weight + ")", saved_step_, dir, options_.lr, dir,
          options_.lr / 10));
}

void Journal::step_done(double learning_rate) {
  ++state_.step;
  state_.seconds = seconds_before_ +
                   std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  done_.push_back({state_.step, learning_rate, state_.seconds});
  log_arrived();
}

// Logs the steps that are done and whose loss has arrived.
void Journal::log_arrived() {
  while (!done_.empty() && !arrived_.empty()) {
    log_step(done_.front(), arrived_.front());
    done_.pop_front();
    arrived_.pop_front();
  }
}

void Journal::log_step(const Done& step, const Arrived& arrived) {
  // An exponential average that begins as the plain one.
  const auto n = static_cast<double>(step.step);
  const double keep = std::min(0.98, n / (n + 1));
  state_.smoothed =
      step.step == 1 ? arrived.loss : keep * state_.smoothed + (1 - keep) * arrived.loss;
  progress_.update(step.step, budget_.steps, arrived.loss, state_.smoothed,
                   step.step * options_.pictures_a_step(), progress(), step.seconds);
  window_ = {step.step,          window_.loss + arrived.loss, state_.smoothed,
             step.learning_rate, arrived.gradient_norm,       progress_.images_per_second(),
             step.seconds};
  if (++window_steps_ == kLogEvery) write_metrics();
}

// A line for the steps since the last one, if there are any.
void Journal::write_metrics() {
  if (window_steps_ == 0) return;
  window_.loss /= static_cast<double>(window_steps_);
  folder_.log(window_);
  window_ = {};
  window_steps_ = 0;
}

void Journal::finish() {
  arrivals_.drain();
  write_metrics();
  if (!non_finite_weight(*model_.params).empty())
    fail("the weights are not finite", state_.step + 1);
  save();
  const std::string dir = folder_.dir().string();
  if (const auto before = folder_.previous_step(); before && health_.exploding())
    print(
        fmt::format("note: {}; the checkpoint of step {} is kept: go on from it with\n  sfumato "
                    "train --resume {} --previous --lr {:.2g}",
                    health_.reason(), *before, dir, options_.lr / 10));
  if (progress() < 1) {
    print(
        fmt::format("stopped at step {} with a checkpoint; go on with\n  sfumato train --resume {}",
                    state_.step, dir));
    return;
  }
  if (state_.step == first_step_ && first_step_ > 0)
    print(fmt::format("the run is finished; to train on: sfumato train --resume {} {}", dir,
                      twice_the_budget(options_, budget_, state_)));
  const auto grid = folder_.samples() / "final.png";
  if (!draw_samples(grid, 8)) {
    print(
        fmt::format("stopped after the last step, before the pictures; draw them with\n"
                    "  sfumato train --resume {}",
                    dir));
    return;
  }
  print(fmt::format(
      "done: {} steps in {:.0f} s, smoothed loss {:.4f}\n  pictures: {}\n  loss curve: {}\n"
      "  more pictures: sfumato sample --model {} --out digits.png",
      state_.step, state_.seconds, state_.smoothed, grid.string(),
      (folder_.dir() / "loss.svg").string(), dir));
}

// A grid of the classes (or of 8 columns of pictures), with the moving average of the weights.
bool Journal::draw_samples(const std::filesystem::path& path, std::int64_t rows) const {
  nn::SwapValues averaged(*model_.params, ema_.average);
  diffusion::GenerateOptions options;
  GridOptions grid;
  constexpr std::size_t kMostColumns = 16;
  std::vector<std::int64_t> labels = diffusion::drawable_labels(model_);
  if (labels.size() > kMostColumns) labels.resize(kMostColumns);
  for (const std::int64_t label : labels)
    grid.headers.push_back(diffusion::class_name(label, model_));
  if (labels.empty()) labels.resize(8);  // unconditional: only their number counts
  grid.columns = std::ssize(labels);
  for (std::int64_t i = 0; i < rows; ++i)
    options.labels.insert(options.labels.end(), labels.begin(), labels.end());
  options.guidance = diffusion::default_guidance(model_);
  // A signal is seen between two runs of the network: few large pictures at a time.
  const std::int64_t pixels =
      model_.network->sample_size.height * model_.network->sample_size.width;
  options.batch = std::clamp<std::int64_t>((std::int64_t{1} << 16) / pixels, 1, options.batch);
  options.cancelled = interrupted;
  try {
    io::write_png(path, make_grid(diffusion::generate(model_, options), grid));
  } catch (const diffusion::Cancelled&) {
    return false;
  }
  return true;
}

}  // namespace sfumato::apps
