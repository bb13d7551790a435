// `sfumato train`: how a diffusion model learns, from top to bottom.
//
// A picture x_0 is noised step by step, x_t = √α_t x_{t-1} + √(1-α_t) ε, until nothing of it is left.
// Sums of Gaussians are Gaussian, so t steps merge into one, x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε̄
// (diffusion/forward.h derives it). A network sees x_t and t and says what the noise was; when it can,
// noise can be walked back into pictures (diffusion/sampler.h). Training is the short loop in train().
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <numeric>

#include "apps/generate.h"
#include "apps/grid.h"
#include "apps/interrupt.h"
#include "apps/machine.h"
#include "apps/options.h"
#include "apps/progress.h"
#include "apps/run_folder.h"
#include "apps/setup.h"
#include "autograd/ops.h"
#include "diffusion/batches.h"
#include "diffusion/forward.h"
#include "diffusion/objective.h"
#include "tensor/io/image.h"
#include "tensor/parallel.h"

namespace sfumato::apps {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// How long to train: a number of steps, or of minutes.
struct Budget {
  std::int64_t steps = 0;  // 0: by time
  double seconds = 0;

  Budget(const TrainOptions& o, std::int64_t pictures) {
    if (o.steps) {
      steps = *o.steps;
    } else if (o.epochs) {
      steps = (*o.epochs * pictures + o.batch - 1) / o.batch;
    } else {
      seconds = 60 * o.minutes.value_or(5);
    }
  }
  // The share that is done, in [0, 1].
  double progress(const TrainState& s) const {
    return std::min(1.0, steps ? static_cast<double>(s.step) / static_cast<double>(steps) : s.seconds / seconds);
  }
};

// Draws a grid of the classes (or of 64 pictures) with the moving average of the weights.
void draw_samples(const diffusion::Pipeline& model, const nn::Ema& ema, const std::filesystem::path& path,
                  std::int64_t rows) {
  nn::SwapValues averaged(*model.params, ema.average);
  GenerateOptions options;
  GridOptions grid;
  const std::int64_t classes = model.classes();
  grid.columns = classes > 0 ? std::min<std::int64_t>(classes, 16) : 8;
  for (std::int64_t i = 0; i < rows * grid.columns; ++i) options.labels.push_back(i % grid.columns);
  for (std::int64_t i = 0; classes > 0 && i < grid.columns; ++i) grid.headers.push_back(std::to_string(i));
  options.guidance = model.null_label ? 2 : 1;
  options.steps = std::min<std::int64_t>(20, model.scheduler.num_train_timesteps);
  io::write_png(path, make_grid(generate(model, options), grid));
}

struct Run {
  TrainOptions options;
  RunFolder folder;
  io::ImageDataset data;
  diffusion::Pipeline model;
};

Run start(const TrainOptions& asked) {
  if (!asked.resume.empty()) {
    RunFolder folder = RunFolder::open(asked.resume);
    TrainOptions options = folder.options();
    options.stop_after = asked.stop_after;
    io::ImageDataset data = open_dataset(options.data);
    // Killed in its first moments, the run begins anew from its record.
    diffusion::Pipeline model = folder.has_state() ? diffusion::load_pipeline(folder.dir()) : new_model(options, data);
    fit(model, data, options.pad);
    return {options, std::move(folder), std::move(data), std::move(model)};
  }
  TrainOptions options = asked;
  if (options.data != "mnist") options.data = std::filesystem::absolute(options.data).string();
  if (!is_preset(options.model)) options.model = std::filesystem::absolute(options.model).string();
  if (!options.init.empty()) options.init = std::filesystem::absolute(options.init).string();
  io::ImageDataset data = open_dataset(options.data);
  diffusion::Pipeline model = new_model(options, data);
  fit(model, data, options.pad);
  RunFolder folder = RunFolder::create(options.out, options);
  return {options, std::move(folder), std::move(data), std::move(model)};
}

}  // namespace

void train(const TrainOptions& asked) {
  Run run = start(asked);
  const TrainOptions& o = run.options;
  RunFolder& folder = run.folder;
  const nn::UNet& unet = *run.model.unet;
  nn::Params& params = *run.model.params;
  const bool conditional = run.model.classes() > 0;
  const diffusion::Schedule schedule = diffusion::make_schedule(run.model.scheduler);
  const diffusion::Prediction prediction = run.model.scheduler.prediction_type;
  const diffusion::Batches batches(run.data.images, conditional ? run.data.labels : Tensor(), o.batch, o.seed,
                                   run.model.null_label, o.label_dropout);
  nn::AdamW adam(params, {.beta1 = o.beta1, .beta2 = o.beta2, .weight_decay = o.weight_decay});
  nn::Ema ema(params, o.ema);
  const Budget budget(o, run.data.images.dim(0));

  TrainState state;
  if (folder.has_state()) {
    folder.load_state(state, run.model, adam, ema);
  } else {
    diffusion::save_pipeline_config(folder.dir(), run.model);
    folder.save(state, run.model, adam, ema);
  }
  folder.open_metrics(state.step);

  ProgressLine progress;
  progress.say(fmt::format(
      "sfumato {}: {} pictures {}x{}x{}{}, U-Net of {:.2f} M parameters, {} schedule, predicting {}{}, {} threads",
      kVersion, run.data.images.dim(0), run.data.images.dim(1), run.data.images.dim(2), run.data.images.dim(3),
      conditional ? fmt::format(" in {} classes", run.data.classes) : "", static_cast<double>(params.count()) * 1e-6,
      diffusion::diffusers_name(run.model.scheduler.beta_schedule), diffusion::name(prediction),
      prediction == diffusion::Prediction::v ? " (√ᾱ ε - √(1-ᾱ) x_0: reads digits sooner than ε; --prediction eps "
                                               "is the lesson's)" : "",
      thread_count()));
  if (state.step > 0) progress.say(fmt::format("resuming at step {}", state.step));

  catch_interrupts();
  const Clock::time_point begin = Clock::now();
  const double seconds_before = state.seconds;
  const std::int64_t first_step = state.step;
  double last_checkpoint = state.seconds, last_samples = state.seconds, window_loss = 0;
  std::int64_t window = 0;
  bool stopping = false;

  while (budget.progress(state) < 1 && !stopping) {
    const auto k = static_cast<std::uint64_t>(state.step);
    const auto [x0, labels] = batches.at(state.step);                                   // x_0 in [-1, 1]
    const Tensor t = Rng(o.seed, Purpose::timestep, k).randint({o.batch}, schedule.steps());  // t ~ U{0..T-1}
    const Tensor eps = Rng(o.seed, Purpose::noise, k).normal(x0.shape());               // ε ~ N(0, I)
    const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);           // x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε
    const Tensor target = diffusion::target(prediction, schedule, x0, eps, t);          // ε itself, or v, or x_0
    params.zero_grad();
    const Var loss = mse(unet(xt, t, labels, {.training = true, .seed = o.seed, .step = k}), target);
    loss.backward();                                                        // ∇ of L = ‖ε - ε_θ(x_t, t)‖²
    const double norm = nn::gradient_norm(params), loss_value = loss.value().item();
    if (!std::isfinite(loss_value) || !std::isfinite(norm))
      throw Error("train", fmt::format("the loss is {} and the gradient's norm {} at step {}: training has diverged; "
                                       "the last checkpoint in {} is intact; try a smaller --lr than {}",
                                       loss_value, norm, state.step + 1, folder.dir().string(), o.lr));
    const double lr = o.lr * nn::warmup_cosine(state.step, o.warmup, budget.progress(state), o.lr_floor);
    adam.step(lr, nn::clip_scale(norm, o.clip));
    ema.update();

    // The rest is bookkeeping.
    ++state.step;
    state.seconds = seconds_before + seconds_since(begin);
    const double keep = std::min(0.98, static_cast<double>(state.step) / static_cast<double>(state.step + 1));
    state.smoothed = state.step == 1 ? loss_value : keep * state.smoothed + (1 - keep) * loss_value;
    window_loss += loss_value;
    ++window;
    const double done = budget.progress(state);
    progress.update(state.step, budget.steps, loss_value, state.smoothed, state.step * o.batch, done, state.seconds);
    stopping = interrupted() || (o.stop_after && state.step - first_step >= *o.stop_after);
    if (window == 10 || done == 1 || stopping) {
      folder.log({state.step, window_loss / static_cast<double>(window), state.smoothed, lr, norm,
                  progress.images_per_second(), state.seconds});
      window_loss = 0;
      window = 0;
    }
    if (state.seconds - last_checkpoint >= o.checkpoint_every && done < 1 && !stopping) {
      folder.save(state, run.model, adam, ema);
      folder.draw_loss_curve();
      last_checkpoint = state.seconds;
    }
    if (o.sample_every > 0 && state.seconds - last_samples >= o.sample_every && done < 1 && !stopping) {
      draw_samples(run.model, ema, folder.samples() / fmt::format("step_{:06}.png", state.step), 4);
      last_samples = state.seconds;
    }
  }

  folder.save(state, run.model, adam, ema);
  folder.draw_loss_curve();
  const std::string dir = folder.dir().string();
  if (budget.progress(state) < 1) {
    progress.say(fmt::format("stopped at step {} with a checkpoint; go on with\n  sfumato train --resume {}",
                             state.step, dir));
    return;
  }
  const auto grid = folder.samples() / "final.png";
  draw_samples(run.model, ema, grid, 8);
  progress.say(fmt::format("done: {} steps in {:.0f} s, smoothed loss {:.4f}\n  pictures: {}\n  loss curve: {}\n"
                           "  more pictures: sfumato sample --model {} --out digits.png",
                           state.step, state.seconds, state.smoothed, grid.string(), (folder.dir() / "loss.svg").string(),
                           dir));
}

}  // namespace sfumato::apps
