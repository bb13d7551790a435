// `sfumato train`: how a diffusion model learns, from top to bottom.
//
// A picture x_0 is noised step by step, x_t = √α_t x_{t-1} + √(1-α_t) ε, until nothing of it is
// left. Sums of Gaussians are Gaussian, so t steps merge into one, x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε̄
// (diffusion/forward.h derives it). A network sees x_t and t and says what the noise was; when it
// can, noise can be walked back into pictures (diffusion/sampler.h). Training is the short loop in
// train().
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <utility>

#include "apps/journal.h"
#include "apps/machine.h"
#include "apps/options.h"
#include "apps/run_folder.h"
#include "apps/setup.h"
#include "autograd/ops.h"
#include "diffusion/batches.h"
#include "diffusion/forward.h"
#include "diffusion/objective.h"
#include "tensor/parallel.h"

namespace sfumato::apps {
namespace {

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
    diffusion::Pipeline model =
        folder.has_state() ? diffusion::load_pipeline(folder.dir()) : new_model(options, data);
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

void expect_finite(double loss, double norm, const Run& run, const TrainState& state) {
  if (std::isfinite(loss) && std::isfinite(norm)) return;
  throw Error(
      "train",
      fmt::format("the loss is {} and the gradient's norm {} at step {}: training has "
                  "diverged; the last checkpoint in {} is intact; try a smaller --lr than {}",
                  loss, norm, state.step + 1, run.folder.dir().string(), run.options.lr));
}

// What the run is, in one line.
std::string headline(const Run& run) {
  const Shape& shape = run.data.images.shape();
  const diffusion::Prediction prediction = run.model.scheduler.prediction_type;
  std::string line = fmt::format(
      "sfumato {}: {} pictures {}x{}x{}{}, U-Net of {:.2f} M parameters, {} schedule, predicting "
      "{}, {} threads",
      kVersion, shape[0], shape[1], shape[2], shape[3],
      run.model.classes() > 0 ? fmt::format(" in {} classes", run.data.classes) : "",
      static_cast<double>(run.model.params->count()) * 1e-6,
      diffusion::diffusers_name(run.model.scheduler.beta_schedule), diffusion::name(prediction),
      thread_count());
  if (prediction == diffusion::Prediction::v)
    line +=
        "\n(v = √ᾱ ε - √(1-ᾱ) x_0: digits that can be read come sooner than with ε; "
        "--prediction eps is the lesson's)";
  return line;
}

}  // namespace

void train(const TrainOptions& asked) {
  Run run = start(asked);
  const TrainOptions& o = run.options;
  const nn::UNet& unet = *run.model.unet;
  nn::Params& params = *run.model.params;
  const diffusion::Schedule schedule = diffusion::make_schedule(run.model.scheduler);
  const diffusion::Prediction prediction = run.model.scheduler.prediction_type;
  const bool conditional = run.model.classes() > 0;
  const diffusion::Batches batches(run.data.images, conditional ? run.data.labels : Tensor(),
                                   o.batch, o.seed, run.model.null_label, o.label_dropout);
  nn::AdamW adam(params, {.beta1 = o.beta1, .beta2 = o.beta2, .weight_decay = o.weight_decay});
  nn::Ema ema(params, o.ema);

  TrainState state;
  if (run.folder.has_state()) {
    run.folder.load_state(state, run.model, adam, ema);
  } else {
    diffusion::save_pipeline_config(run.folder.dir(), run.model);
    run.folder.save(state, run.model, adam, ema);
  }
  Journal journal(o, run.folder, run.model, adam, ema, state, run.data.images.dim(0));
  journal.say(headline(run));
  if (state.step > 0) journal.say(fmt::format("resuming at step {}", state.step));

  while (journal.goes_on()) {
    const auto k = static_cast<std::uint64_t>(state.step);

    // A picture, a time, a noise.
    const auto [x0, label] = batches.at(state.step);  // x_0 in [-1, 1]
    const Tensor t = Rng(o.seed, Purpose::timestep, k).randint({o.batch}, schedule.steps());
    const Tensor eps = Rng(o.seed, Purpose::noise, k).normal(x0.shape());  // ε ~ N(0, I)

    // The noisy picture: x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε.
    const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);

    // L = ‖ε - ε_θ(x_t, t)‖², or the same for v or x_0.
    const Tensor target = diffusion::target(prediction, schedule, x0, eps, t);
    const nn::Mode mode{.training = true, .seed = o.seed, .step = k, .recompute = o.recompute};
    params.zero_grad();
    const Var loss = mse(unet(xt, t, label, mode), target);
    loss.backward();

    // One step down the gradient.
    const double norm = nn::gradient_norm(params);
    expect_finite(loss.value().item(), norm, run, state);
    const double lr =
        o.lr * nn::warmup_cosine(state.step, o.warmup, journal.progress(), o.lr_floor);
    adam.step(lr, nn::clip_scale(norm, o.clip), &ema);

    journal.step_done(loss.value().item(), norm, lr);
  }
  journal.finish();
}

}  // namespace sfumato::apps
