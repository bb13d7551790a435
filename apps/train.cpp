// `sfumato train`: how a diffusion model learns, from top to bottom.
//
// A picture x_0 is noised step by step, x_t = √α_t x_{t-1} + √(1-α_t) ε, until nothing of it is
// left. Sums of Gaussians are Gaussian, so t steps merge into one, x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε̄
// (diffusion/forward.h derives it). A network sees x_t and t and says what the noise was; when it
// can, noise can be walked back into pictures (diffusion/sampler.h). Training is the short loop in
// train().
#include <fmt/format.h>

#include <functional>
#include <memory>
#include <string>

#include "apps/command_line.h"
#include "apps/journal.h"
#include "apps/machine.h"
#include "apps/notes.h"
#include "apps/start.h"
#include "apps/train_options.h"
#include "autograd/ops.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/objective.h"
#include "tensor/parallel.h"

namespace sfumato::apps {
namespace {

// What the run is, in one line.
std::string headline(const Run& run) {
  const Shape& shape = run.data.images.shape();
  const diffusion::Prediction prediction = run.model.scheduler.prediction_type;
  std::string line = fmt::format(
      "sfumato {}: {} pictures {}x{}x{}{}, U-Net of {:.2f} M parameters, {} schedule, predicting "
      "{}, {} threads",
      kVersion, shape[0], shape[1], shape[2], shape[3],
      run.model.conditioning().classes() > 0 ? fmt::format(" in {} classes", run.data.classes) : "",
      static_cast<double>(run.model.params->count()) * 1e-6,
      run.model.scheduler.beta_schedule.diffusers, prediction.name, thread_count());
  if (run.model.conditioning().classes() > 0) line += "\nclasses: " + data::class_list(run.data);
  if (prediction == diffusion::Prediction::v)
    line +=
        "\n(v = √ᾱ ε - √(1-ᾱ) x_0: digits that can be read come sooner than with ε; "
        "--prediction eps is the lesson's)";
  return line;
}

void train(const TrainOptions& asked) {
  Run run = start(asked);
  const TrainOptions& o = run.options;
  const nn::Network& network = *run.model.network;
  nn::Params& params = *run.model.params;
  const diffusion::Schedule schedule = diffusion::make_schedule(run.model.scheduler);
  const diffusion::Prediction prediction = run.model.scheduler.prediction_type;
  const nn::Conditioning& conditioning = network.conditioning;
  const data::Batches batches(
      run.data.images, conditioning.classes() > 0 ? run.data.labels : Tensor(), o.batch, o.seed,
      conditioning.null_label, o.label_dropout.value_or(kLabelDropout));
  nn::AdamW adam(params, {.beta1 = o.beta1, .beta2 = o.beta2, .weight_decay = o.weight_decay});
  nn::Ema ema(params, o.ema);

  TrainState state;
  if (run.folder.has_state()) {
    run.folder.load_state(state, run.model, adam, ema, o.previous);
    if (const std::string note = learning_rate_note(run, state); !note.empty())
      run.notes.push_back(note);
  } else {
    diffusion::save_pipeline_config(run.folder.dir(), run.model);
    run.folder.save(state, run.model, adam, ema, false);
  }
  run.folder.update_record(o, run.identity);
  if (!run.folder.note().empty()) run.notes.push_back(run.folder.note());
  Journal journal(o, run.folder, run.model, adam, ema, state,
                  make_budget(o, run.data.images.dim(0)));
  print_notes(run.notes);
  journal.print(headline(run));
  if (state.step > 0) journal.print(fmt::format("resuming at step {}", state.step));

  while (journal.should_continue()) {
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
    const Var loss = mse(network(xt, t, label, mode), target);
    loss.backward();

    // One step down the gradient.
    const double norm = nn::gradient_norm(params);
    journal.before_update(loss.value().item(), norm);
    const double lr = learning_rate(o, state, journal.progress());
    adam.step(lr, nn::clip_scale(norm, o.clip), &ema);

    journal.step_done(loss.value().item(), norm, lr);
  }
  journal.finish();
}

}  // namespace

std::function<void()> declare_train(CommandLine& line) {
  const auto o = std::make_shared<TrainOptions>();
  line(o->out, {"out", "Folder for the run; a valid diffusers folder at any moment"});
  line(o->resume, {"resume",
                   "Go on with the run in this folder, with everything recorded there; options "
                   "given beside it are changed and recorded"});
  line(o->accept_data, {"accept_data", "Go on although the data are not those of the checkpoint"});
  line(o->previous, {"previous", "Go on from the checkpoint before the newest"});
  line(o->stop_after, {"stop_after", "End this process after that many steps, as Ctrl-C would"},
       {1, kMaxSteps});
  visit_train_options(line, *o);
  line.needs_one_of({"out", "resume"}, "--out DIR or --resume DIR");
  line.excludes("out", {"resume"});
  line.needs("accept_data", "resume");
  line.needs("previous", "resume");
  line.excludes("init", {"model"});
  line.excludes("minutes", {"steps", "epochs"});
  line.excludes("steps", {"epochs"});
  line.example("sfumato train --out runs/mnist --minutes 5");
  return [o, &line] {
    o->given = line.given();
    train(*o);
  };
}

}  // namespace sfumato::apps
