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
#include <optional>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "apps/doctor.h"
#include "apps/journal.h"
#include "apps/machine.h"
#include "apps/notes.h"
#include "apps/start.h"
#include "apps/train_options.h"
#include "apps/training_step.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/loss.h"
#include "diffusion/objective.h"
#include "diffusion/self_condition.h"
#include "diffusion/times.h"
#include "tensor/parallel.h"
#include "tensor/recorded.h"

namespace sfumato::apps {
namespace {

// What the run is, in one line.
std::string headline(const Run& run) {
  const Shape& shape = run.data.images.shape();
  const diffusion::Prediction prediction = run.model.scheduler.prediction_type;
  std::string line = fmt::format(
      "sfumato {}: {} pictures {}x{}x{}{}, {} of {:.2f} M parameters, {} schedule, predicting "
      "{}, {}{} threads",
      kVersion, shape[0], shape[1], shape[2], shape[3],
      run.model.conditioning().classes() > 0 ? fmt::format(" in {} classes", run.data.classes) : "",
      diffusion::network_class(run.model)->title,
      static_cast<double>(run.model.params->count()) * 1e-6, run.model.scheduler.beta_schedule.name,
      prediction.name,
      *run.options.precision == nn::Precision::f32
          ? ""
          : fmt::format("in {}, ", run.options.precision->name),
      thread_count());
  if (run.model.conditioning().classes() > 0) line += "\nclasses: " + data::class_list(run.data);
  if (run.model.network->takes_estimate)
    line += "\nself-conditioned: half of the pictures come with the network's own estimate";
  if (prediction == diffusion::Prediction::v)
    line +=
        "\n(v = √ᾱ ε - √(1-ᾱ) x_0: digits that can be read come sooner than with ε; "
        "--prediction eps is the lesson's)";
  return line;
}

// A line where every draw will be uniform.
void note_uniform_times(Run& run) {
  const TrainOptions& o = run.options;
  const std::int64_t T = run.model.scheduler.num_train_timesteps,
                     needed = diffusion::LossHistory::kLosses * T,
                     steps = make_budget(o, run.data.images.dim(0)).steps;
  if (o.times->by_loss && steps > 0 && steps * o.pictures_a_step() < needed)
    run.notes.push_back(
        fmt::format("--times {}: {} steps of {} pictures are too few for {} losses of each of {} "
                    "timesteps, so that times stay uniform",
                    o.times->name, steps, o.pictures_a_step(), diffusion::LossHistory::kLosses, T));
}

// A line where x_t is given to the network as large as it is.
void note_large_pictures(Run& run) {
  const diffusion::BetaSchedule& schedule = run.model.scheduler.beta_schedule;
  if (*schedule.path == diffusion::Path::variance_exploding)
    run.notes.push_back(fmt::format(
        "schedule {}: x_t, which grows as large as the noise, is what the network sees, and it "
        "learns slowly; {} is the same process with x_t scaled to size 1",
        schedule.name, diffusion::BetaSchedule::edm.name));
}

// Of the checkpoint, or of a new run, which gets its first checkpoint.
TrainState first_state(Run& run, nn::AdamW& adam, nn::Ema& ema, diffusion::Times& times) {
  note_uniform_times(run);
  note_large_pictures(run);
  TrainState state;
  state.time_losses = times.history();
  if (run.folder.has_state()) {
    run.folder.load_state(state, run.model, adam, ema, run.options.previous);
    if (const std::string note = learning_rate_note(run, state); !note.empty())
      run.notes.push_back(note);
  } else {
    diffusion::save_pipeline_config(run.folder.dir(), run.model);
    run.folder.save(state, run.model, adam, ema, false);
  }
  run.folder.update_record(run.options, run.identity);
  if (!run.folder.note().empty()) run.notes.push_back(run.folder.note());
  return state;
}

data::Batches training_batches(const Run& run, Device device) {
  const TrainOptions& o = run.options;
  const nn::Conditioning& conditioning = run.model.conditioning();
  return {run.data.images.to(device),
          conditioning.classes() > 0 ? run.data.labels.to(device) : Tensor(),
          o.pictures_a_step(),
          o.seed,
          conditioning.null_label,
          o.label_dropout.value_or(kLabelDropout),
          o.flip};
}

void announce(const Run& run, const TrainState& state, Journal& journal) {
  print_notes(run.notes);
  journal.print(headline(run));
  if (state.step > 0) journal.print(fmt::format("resuming at step {}", state.step));
}

// What --find-lr and --doctor say before the first step; the doctor, if asked for.
std::optional<Doctor> begin_examination(const TrainOptions& asked, Run& run,
                                        const diffusion::Times& times, Journal& journal) {
  if (asked.find_lr) journal.print(find_learning_rate(run.model, run.options, run.data));
  std::optional<Doctor> doctor;
  if (asked.doctor) doctor.emplace(run.model, run.options, run.data, times);
  return doctor;
}

void examine(Doctor& doctor, std::int64_t step, Journal& journal) {
  for (const std::string& line : doctor.examine(step)) journal.print(line);
}

// A step, before which the doctor looks at the weights, and after whose failure it looks for the cause.
template <class Step>
void examined(std::optional<Doctor>& doctor, const TrainState& state, const data::Batches& batches,
              Journal& journal, const Step& step) {
  if (!doctor) return step();
  if (state.step % Doctor::kEvery == 0) examine(*doctor, state.step, journal);
  try {
    step();
  } catch (const Error&) {
    journal.print(doctor->first_non_finite(state.step, batches));
    throw;
  }
}

void train(const TrainOptions& asked, Device device) {
  Run run = start(asked, device);
  const TrainOptions& o = run.options;
  const nn::Network& network = *run.model.network;
  nn::Params& params = *run.model.params;
  const diffusion::Schedule schedule = diffusion::make_schedule(run.model.scheduler);
  const diffusion::Prediction prediction = run.model.scheduler.prediction_type;
  diffusion::Times times(*o.times, schedule, device);
  const diffusion::Loss loss_of(*o.loss, *o.loss_weight, prediction, schedule, *o.variance);
  const data::Batches batches = training_batches(run, device);
  nn::AdamW adam(params, o.adam());
  nn::Ema ema(params, o.ema);
  TrainState state = first_state(run, adam, ema, times);
  Journal journal(o, run.folder, run.model, adam, ema, state,
                  make_budget(o, run.data.images.dim(0)));
  announce(run, state, journal);
  std::optional<Doctor> doctor = begin_examination(asked, run, times, journal);

  // What one step computes, as a function of its number: loss and gradient. (A GPU records it once, and replays it.)
  Recorded gradient(device, [&](std::span<const Tensor> in) -> std::vector<Tensor> {
    const Tensor& k = in[0];
    const data::Batch batch = batches.at(k);             // A picture, a time, a noise:
    const Tensor &x0 = batch.x0, &label = batch.labels;  // x_0 in [-1, 1]
    const Tensor t = times.draw(Rng(o.seed, Purpose::timestep, k), x0.dim(0));  // U{0..T-1}
    const Tensor noise = Rng(o.seed, Purpose::noise, k).normal(x0.shape());     // ~ N(0, I)
    const Tensor eps = diffusion::coupled(*o.coupling, x0, noise, label);       // ε, in any order
    // The noisy picture: x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε.
    const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);
    // L = ‖ε - ε_θ(x_t, t)‖², or the same for v or x_0, each time weighted as --loss-weight says.
    const Tensor target = diffusion::target(prediction, schedule, x0, eps, t);
    const Shown step{x0, label, t, xt, target, loss_of_each(times, t)};
    const auto gradient_of = [&](const Shown& s, std::int64_t i, double share) {
      const Tensor seen = diffusion::seen_in_training(run.model, schedule, s.xt, s.t, s.label);
      const Var y = network(seen, schedule.network_time(s.t), s.label, mode_of(o, k, i));
      const Var loss = loss_of(y, s.target, s.t, s.x0, s.each) * share;
      loss.backward();
      return loss.value();
    };
    const Tensor loss = batch_by_batch(o, params, step, gradient_of);
    return outcome(loss, nn::gradient_norm(params), step);
  });

  // One step down the gradient, at the learning rate in[0], given the gradient's norm in[1], and what times learn from it.
  Recorded update(device, [&](std::span<const Tensor> in) -> std::vector<Tensor> {
    adam.step(in[0], {.norm = in[1], .max_norm = o.clip}, &ema);
    if (in.size() > 2) times.history()->add(in[2], in[3]);
    return {};
  });

  while (journal.should_continue())
    examined(doctor, state, batches, journal, [&] {
      const std::vector<Tensor>& out = gradient({Tensor::from<std::int64_t>({}, {state.step})});
      journal.before_update(out[0], out[1]);
      const double lr = learning_rate(o, state, journal.progress());
      update(with_rates(adam.rates(lr, &ema), out));
      journal.step_done(lr);
    });
  if (doctor) examine(*doctor, state.step, journal);
  journal.finish();
}

}  // namespace

RunSubcommand declare_train(CommandLine& line) {
  const auto o = std::make_shared<TrainOptions>();
  line(o->out, {"out", "Folder for the run; a valid diffusers folder at any moment"});
  line(o->resume, {"resume",
                   "Go on with the run in this folder, with everything recorded there; options "
                   "given beside it are changed and recorded"});
  line(o->accept_data, {"accept_data", "Go on although the data are not those of the checkpoint"});
  line(o->previous, {"previous", "Go on from the checkpoint before the newest"});
  line(o->stop_after, {"stop_after", "End this process after that many steps, as Ctrl-C would"},
       {1, kMaxSteps});
  line(o->doctor,
       {"doctor",
        "Say while training what is wrong: a first NaN, dead channels, loss per t above a "
        "constant's, over-fitting, a learning rate too high or low"});
  line(o->find_lr,
       {"find_lr", "Before training, look for a learning rate; a line says what was found"});
  visit_train_options(line, *o);
  line.needs_one_of({"out", "resume"}, "--out DIR or --resume DIR");
  line.excludes("out", {"resume"});
  line.needs("accept_data", "resume");
  line.needs("previous", "resume");
  line.excludes("init", {"model"});
  line.excludes("minutes", {"steps", "epochs"});
  line.excludes("steps", {"epochs"});
  line.example("sfumato train --out runs/mnist --minutes 5");
  return [o, &line](Device device) {
    o->given = line.given();
    train(*o, device);
  };
}

}  // namespace sfumato::apps
