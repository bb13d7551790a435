// The options of `train`, each declared once: its key in run.json (and, with dashes, its flag), its range, its help, and
// why --resume cannot change it. The command line, the record and its reading (train_options.cpp) and --resume (restate)
// all walk this list. A new option is a field of TrainOptions and an entry in the list; an older run, whose record does
// not have its key, resumes with the field's initial value.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "apps/option.h"
#include "diffusion/coupling.h"
#include "diffusion/loss.h"
#include "diffusion/scheduler_config.h"
#include "diffusion/times.h"
#include "nn/optim.h"
#include "nn/precision.h"
#include "tensor/io/json.h"

namespace sfumato::apps {

// Limits of the command line, of a record and of a checkpoint alike.
inline constexpr std::int64_t kMaxBatch = 65536, kMaxAccumulate = 4096, kMaxTimesteps = 100000;
inline constexpr double kMinutes = 5, kLabelDropout = 0.1;
inline constexpr std::int64_t kMaxSteps = std::int64_t{1} << 40;

// What is recorded of these is in the list below.
struct TrainOptions {
  std::string out, resume;
  bool accept_data = false;  // --resume although the data have changed
  bool previous = false;     // --resume from the checkpoint before the newest
  bool doctor = false, find_lr = false;
  std::set<std::string> given;  // keys of the options that the command line names

  std::string init;
  std::string data = "mnist";     // "mnist": the bundled one
  std::string model = "small";    // tiny, small, base, or a diffusers config.json
  std::optional<double> minutes;  // at most one of the three; none: kMinutes
  std::optional<std::int64_t> steps, epochs;
  std::optional<std::int64_t> stop_after;  // of this process; not recorded
  std::int64_t batch = 32;
  std::int64_t accumulate = 1;  // batches a step
  std::int64_t pictures_a_step() const { return batch * accumulate; }
  double lr = 4e-3;
  double lr_floor = 0.02;    // the cosine ends at this share of lr
  std::int64_t warmup = 50;  // steps
  std::optional<nn::Optimizer> optimizer = nn::Optimizer::muon;
  double momentum = 0.9;  // Muon's
  double beta1 = 0.9, beta2 = 0.99;
  double weight_decay = 0;
  nn::AdamWOptions adam() const {
    return {.beta1 = beta1,
            .beta2 = beta2,
            .weight_decay = weight_decay,
            .muon = optimizer->orthogonal,
            .momentum = momentum};
  }
  double clip = 1;  // of the gradient's norm
  double ema = 0.999;
  std::optional<double> label_dropout;  // none: kLabelDropout where the model has a row for it
  std::optional<double> dropout;        // of the network; none: as the model says
  // None: v, cosine and 1000, or what the folder of --init says.
  std::optional<diffusion::Prediction> prediction;
  std::optional<diffusion::BetaSchedule> schedule;
  std::optional<std::int64_t> timesteps;  // T
  std::optional<diffusion::TimeDistribution> times = diffusion::TimeDistribution::uniform;
  std::optional<diffusion::Coupling> coupling = diffusion::Coupling::independent;
  std::optional<diffusion::LossFunction> loss = diffusion::LossFunction::mse;
  std::optional<diffusion::LossWeight> loss_weight = diffusion::LossWeight::constant;
  std::optional<diffusion::ReverseVariance> variance = diffusion::ReverseVariance::fixed;
  bool zero_snr = false;                   // nothing of the picture is left at t = T
  double shift = 1;                        // of flow matching's times
  bool self_condition = false;             // the network sees its own estimate of x_0
  std::optional<std::int64_t> null_label;  // none: as the model says
  std::uint64_t seed = 0;
  bool pad = false;
  bool flip = false;
  std::optional<std::string> size, background;  // of the pictures: none: as stored
  bool recompute = false;                       // less memory, more time
  std::optional<nn::Precision> precision = nn::Precision::f32;
  bool tensorboard = false;
  double sample_every = 60;      // seconds between sample grids; 0: only at the end
  double checkpoint_every = 30;  // seconds
};

template <class Visitor, class Options>
void visit_data_options(Visitor&& v, Options& o) {
  constexpr const char* kPictures = "the network has been trained on the pictures as they are";
  v(o.data, OptionInfo{"data",
                       "IDX pair, folder of PNG/JPEG files (sub-folders are classes), or .npy; "
                       "mnist: the bundled MNIST"});
  v(o.pad, OptionInfo{"pad", "Add a black border to pictures whose size the network cannot halve",
                      kPictures});
  v(o.size, OptionInfo{"size", kSizeOption.help, kPictures}, kSize);
  v(o.background, OptionInfo{"background", kBackgroundOption.help, kPictures}, kBackground);
  v(o.flip, OptionInfo{"flip",
                       "Mirror half of the pictures, left to right, others in each epoch (not for "
                       "digits and letters)"});
  v(o.model,
    OptionInfo{
        "model",
        "tiny, small, base (U-Nets), dit-tiny, dit, dit-base (transformers), or the config.json of "
        "a diffusers UNet2DModel or DiTTransformer2DModel",
        "the weights belong to this network"});
  v(o.init, OptionInfo{"init", "Start from the weights of this diffusers folder",
                       "the run has begun from other weights"});
}

template <class Visitor, class Options>
void visit_optimiser_options(Visitor&& v, Options& o) {
  constexpr const char* kMoments = "the optimiser's moments were averaged with the old value";
  v(o.minutes, OptionInfo{"minutes", "Train this long in all (default: 5)"}, Reals{1e-3, 1e7});
  v(o.steps, OptionInfo{"steps", "Train this many steps in all"}, Integers{1, kMaxSteps});
  v(o.epochs, OptionInfo{"epochs", "Train this many passes over the data in all"},
    Integers{1, kMaxSteps >> 20});
  v(o.batch, OptionInfo{"batch", "Pictures a step", "the order of the pictures counts in batches"},
    Integers{1, kMaxBatch});
  v(o.accumulate,
    OptionInfo{
        "accumulate",
        "Batches a step, one after the other: as one that many times as large, in the memory "
        "of one",
        "the order of the pictures counts in steps"},
    Integers{1, kMaxAccumulate});
  v(o.lr, OptionInfo{"lr", "Learning rate, reached after the warm-up"}, Reals{0, 1e6});
  v(o.lr_floor, OptionInfo{"lr_floor", "Share of --lr that the cosine ends at"}, Reals{0, 1});
  v(o.warmup, OptionInfo{"warmup", "Steps of linear warm-up"}, Integers{0, kMaxSteps});
  v(o.optimizer, OptionInfo{"optimizer", "What moves the weights; default muon", kMoments},
    Choices<nn::Optimizer>(nn::Optimizer::all));
  v(o.momentum, OptionInfo{"momentum", "Muon's momentum", kMoments}, Reals{0, 0.999999});
  v(o.beta1, OptionInfo{"beta1", "AdamW's first moment", kMoments}, Reals{0, 0.999999});
  v(o.beta2, OptionInfo{"beta2", "AdamW's second moment", kMoments}, Reals{0, 0.999999});
  v(o.weight_decay, OptionInfo{"weight_decay", "AdamW's decoupled weight decay"}, Reals{0, 1e3});
  v(o.clip, OptionInfo{"clip", "Largest norm of the gradient"}, Reals{1e-9, 1e9});
  v(o.ema, OptionInfo{"ema", "Decay of the weights' moving average (warmed up)"},
    Reals{0, 0.9999999});
}

template <class Visitor, class Options>
void visit_diffusion_options(Visitor&& v, Options& o) {
  using diffusion::BetaSchedule;
  using diffusion::Coupling;
  using diffusion::LossFunction;
  using diffusion::LossWeight;
  using diffusion::Prediction;
  using diffusion::ReverseVariance;
  using diffusion::TimeDistribution;
  constexpr const char* kNoise = "the network has learned the noise levels of the old value";
  v(o.label_dropout,
    OptionInfo{"label_dropout", "Share of labels hidden, for guidance (default: 0.1)"},
    Reals{0, 1});
  v(o.dropout, OptionInfo{"dropout", "Dropout in the residual blocks", "it is part of the network"},
    Reals{0, 0.999});
  v(o.prediction,
    OptionInfo{"prediction", "What the network predicts; default v",
               "the network has learned to predict the old one"},
    Choices<Prediction>(Prediction::all));
  v(o.schedule, OptionInfo{"schedule", "Noise schedule; default cosine", kNoise},
    Choices<BetaSchedule>(BetaSchedule::all));
  v(o.timesteps, OptionInfo{"timesteps", "Length T of the noise schedule; default 1000", kNoise},
    Integers{2, kMaxTimesteps});
  v(o.zero_snr,
    OptionInfo{"zero_snr", "Rescale the schedule so that x_T holds nothing of the picture",
               kNoise});
  v(o.shift, OptionInfo{"shift", "With --schedule flow: σ / a times so much at every time", kNoise},
    Reals{1e-3, 1e3});
  v(o.times, OptionInfo{"times", "Which timesteps are drawn in training; default uniform"},
    Choices<TimeDistribution>(TimeDistribution::all));
  v(o.coupling,
    OptionInfo{"coupling", "Which noise of a batch goes with which picture; default independent"},
    Choices<Coupling>(Coupling::all));
  v(o.loss, OptionInfo{"loss", "What the answer's distance from its target costs; default mse"},
    Choices<LossFunction>(LossFunction::all));
  v(o.loss_weight,
    OptionInfo{"loss_weight", "How much each time counts in the loss; default constant"},
    Choices<LossWeight>(LossWeight::all));
  v(o.variance,
    OptionInfo{"variance", "The variance of a step back; default fixed",
               "the network says a variance, or does not"},
    Choices<ReverseVariance>(ReverseVariance::all));
  v(o.self_condition,
    OptionInfo{"self_condition",
               "The network sees its own last estimate of the picture beside x_t, in half of "
               "training and when it draws (Analog Bits)",
               "the network has channels for an estimate, or has none"});
  v(o.null_label,
    OptionInfo{"null_label", "The row of the class table that stands for 'no class'",
               "the network has learned the old one"},
    Integers{0, 1 << 24});
}

// Calls v(field, info) for texts and flags, v(field, info, range) for numbers, v(field, info,
// choices) for rows of a table and v(field, info, syntax) for texts of a form. `Options`: TrainOptions,
// const or not.
template <class Visitor, class Options>
void visit_train_options(Visitor&& v, Options& o) {
  visit_data_options(v, o);
  visit_optimiser_options(v, o);
  visit_diffusion_options(v, o);
  v(o.seed,
    OptionInfo{"seed", "Seed of everything random", "the random numbers of the run go by it"},
    Integers{0, INT64_MAX});
  v(o.recompute,
    OptionInfo{"recompute", "Less memory, more time: the insides of blocks are computed twice"});
  v(o.precision, kPrecisionOption, Choices<nn::Precision>(nn::Precision::all));
  v(o.tensorboard,
    OptionInfo{"tensorboard", "Also write TensorBoard's event files into the run's folder"});
  v(o.sample_every, OptionInfo{"sample_every", "Seconds between sample grids; 0: only at the end"},
    Reals{0, 1e9});
  v(o.checkpoint_every, OptionInfo{"checkpoint_every", "Seconds between checkpoints"},
    Reals{0, 1e9});
}

// Throws Error for a text that is not UTF-8, which a record cannot hold.
io::Json to_json(const TrainOptions& options);
// With the ranges of the command line. What an older record does not say has its default; a key
// that this version does not know throws, as it could change the result.
TrainOptions parse_train_options(const io::JsonObject& json);

// `recorded` with the options that `asked` restates (`asked.given`), each named in `notes` with its
// old and new value. Throws Error for one that cannot be changed.
TrainOptions restate(const TrainOptions& recorded, const TrainOptions& asked,
                     std::vector<std::string>& notes);

}  // namespace sfumato::apps
