// `sfumato evaluate`: how good are a model's pictures? A classifier that has seen only real pictures predicts the class
// of each drawn one; its features tell how far the set of drawn pictures is from the set of real ones.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/command_line.h"
#include "apps/judge.h"
#include "apps/likelihood.h"
#include "apps/metrics.h"
#include "apps/notes.h"
#include "apps/pairs.h"
#include "apps/sampler_table.h"
#include "apps/setup.h"
#include "apps/verdict.h"
#include "diffusion/generate.h"
#include "nn/precision.h"

namespace sfumato::apps {
namespace {

struct EvaluateOptions {
  std::string model, pictures;             // one of the two
  std::string data = "mnist", classifier;  // classifier "": kept in the user's cache
  std::string clip;                        // "", on, diffusers, dynamic, off
  std::int64_t count = 1000, steps = 20;
  std::optional<diffusion::Spacing> spacing;  // none: as the folder says
  std::optional<double> guidance;             // none: 1, and 2 where the model was trained for it
  std::string table;                          // "", samplers
  std::int64_t evaluations = 50;              // at most, in the table
  std::optional<std::string> metrics;
  std::string pairs;  // "" or a PNG file
  std::uint64_t seed = 0;
  bool likelihood = false, json = false;
  std::optional<std::string> size, background;                  // of the pictures, as for `train`
  std::optional<nn::Precision> precision = nn::Precision::f32;  // of the model alone
  std::optional<nn::Optimizer> optimizer;                       // of the classifier
};

void check(const diffusion::Pipeline& model, const data::ImageDataset& data) {
  const Shape& s = data.images.shape();
  const auto [height, width] = model.network->sample_size;
  const std::int64_t channels = model.network->in_channels;
  if (height != s[1] || width != s[2] || channels != s[3])
    throw Error("evaluate", fmt::format("the model draws {}x{}x{}, the data has {}x{}x{}", height,
                                        width, channels, s[1], s[2], s[3]));
  const std::int64_t classes = model.conditioning().classes();
  if (classes > 0 && classes != data.classes)
    throw Error("evaluate",
                fmt::format("the model knows {} classes, the data has {}", classes, data.classes));
  for (std::size_t i = 0; i < std::min(model.class_names.size(), data.class_names.size()); ++i) {
    const std::string &drawn = model.class_names[i], &real = data.class_names[i];
    if (classes > 0 && !drawn.empty() && !real.empty() && drawn != real)
      throw Error("evaluate", fmt::format("class {} is {} for the model and {} in the data", i,
                                          io::in_quotes(drawn), io::in_quotes(real)));
  }
}

// What is to be drawn: one set a guidance. Throws Error for what generate() would refuse.
std::vector<diffusion::GenerateOptions> drawings(const EvaluateOptions& o,
                                                 const diffusion::Pipeline& model,
                                                 const std::vector<std::int64_t>& labels,
                                                 const std::vector<SamplerCell>& cells) {
  std::vector<double> guidances{o.guidance.value_or(1)};
  if (!o.guidance && model.conditioning().null_label) guidances.push_back(2);
  std::vector<diffusion::GenerateOptions> all;
  for (const double guidance : guidances) {
    diffusion::GenerateOptions g;
    g.labels = labels, g.steps = o.steps, g.guidance = guidance, g.seed = o.seed;
    if (!o.clip.empty()) g.clip = diffusion::parse_clip(o.clip);
    diffusion::expect_drawable(model, g);
    all.push_back(g);
  }
  if (cells.empty()) return all;
  diffusion::GenerateOptions g = all.front();
  all.clear();
  for (const SamplerCell& cell : cells) {
    g.sampler = cell.sampler, g.steps = cell.steps;
    all.push_back(g);
  }
  return all;
}

// The bound's terms: what is left of the picture in x_T, the steps in tenths of T, the pixels.
void print_bound(const BitsPerDim& b, const diffusion::SchedulerConfig& scheduler) {
  const auto line = [](const std::string& text, double bits) {
    fmt::print("{:<52} {:.3f}\n", text, bits);
  };
  if (!b.bound) {
    fmt::print("variational bound: none, it is of DDPM's process, and the schedule is {}\n",
               scheduler.beta_schedule.name);
    return;
  }
  line("variational bound, of the pixels", b.bound->total());
  line("  L_T, x_T against pure noise", b.bound->prior);
  const std::int64_t T = scheduler.num_train_timesteps, part = std::max<std::int64_t>(1, T / 10);
  for (std::int64_t t = 1; t < T; t += part)
    line(fmt::format("  L_t, t = {}..{}", t, std::min(T, t + part) - 1),
         b.bound->bits(t, std::min(T, t + part)));
  line("  L_0, the pixels given x_1", b.bound->last_step);
  fmt::print("(of timesteps above 16, one in {} stands for its neighbours)\n", kBoundStride);
}

// --likelihood
void print_likelihood(const EvaluateOptions& o, const diffusion::Pipeline& model,
                      const data::ImageDataset& test) {
  if (model.network->takes_estimate)
    print_notes(
        {"self-conditioned: bits/dim are those of the network without an estimate, as a "
         "likelihood is of one function of x_t"});
  const BitsPerDim b = bits_per_dim(model, test, o.count, o.seed);
  if (o.json) {
    io::Json j{{"pictures", b.pictures}, {"flow", b.flow}, {"flow_error", b.flow_error}};
    j["bound"] = b.bound ? io::Json(b.bound->total()) : io::Json(nullptr);
    if (b.bound) {
      j["bound_terms"] = {{"prior", b.bound->prior}, {"last_step", b.bound->last_step}};
      for (const auto& term : b.bound->between)
        j["bound_terms"]["between"].push_back(
            {{"first", term.first}, {"count", term.count}, {"bits", term.bits}});
    }
    fmt::print("{}\n", j.dump(2));
    return;
  }
  fmt::print("{} test pictures, bits/dim\n\n{:<52} {:.3f} ± {:.3f}\n", b.pictures,
             "probability flow, of uniformly dequantised pixels", b.flow, b.flow_error);
  print_bound(b, model.scheduler);
}

std::int64_t evaluations(const diffusion::Pipeline& model, const diffusion::GenerateOptions& g) {
  diffusion::SampleOptions options{.config = model.scheduler, .steps = *g.steps};
  options.config.sampler = g.sampler;
  return diffusion::evaluations(diffusion::make_schedule(model.scheduler), options) *
         (diffusion::guides(g) ? 2 : 1);
}

const Syntax kMetrics{[](std::string_view text) { parse_metrics(text); }};

Judge::Metrics metrics_of(const EvaluateOptions& o) {
  if (!o.table.empty()) return {&eval::Metric::agreement, &eval::Metric::fd};
  return parse_metrics(o.metrics.value_or("default"));
}

struct Splits {
  data::ImageDataset train, test;
};

Splits open_splits(const EvaluateOptions& o) {
  data::LoadOptions load = load_options(o.size, o.background);
  Splits d;
  d.train = open_dataset(o.data, load);
  load.split = data::Split::test;
  d.test = open_dataset(o.data, load);
  if (data::used_labels(d.train).size() < 2)
    throw Error("evaluate", "the data has no two classes to train a classifier on");
  data::match_split(d.test, d.train);
  return d;
}

// Padded as `train --pad` does, where the model draws larger pictures.
void fit_to_model(Splits& d, const diffusion::Pipeline& model) {
  if (model.network->sample_size.height != d.train.images.dim(1)) {
    data::pad_to_multiple(d.train, model.network->size_multiple);
    data::pad_to_multiple(d.test, model.network->size_multiple);
  }
  if (model.network->sample_size.height == 0)  // the folder does not say: as large as the data
    model.network->sample_size = {d.train.images.dim(1), d.train.images.dim(2)};
  check(model, d.train);
}

std::vector<std::int64_t> classes_in_turn(const data::ImageDataset& data, std::int64_t count) {
  const std::vector<std::int64_t> used = data::used_labels(data);
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < count; ++i)
    labels.push_back(used[static_cast<std::size_t>(i) % used.size()]);
  return labels;
}

// The judge and what it says, of sets of as many pictures as `labels`.
struct Trial {
  std::filesystem::path file;  // of the classifier
  Judge judge;
  Verdict verdict;
  ClosestPairs pairs;
};

Trial open_trial(const EvaluateOptions& o, const Splits& data,
                 const std::vector<std::int64_t>& labels) {
  ClosestPairs pairs(o.pairs, data.train.images);
  real_pictures(data.train, labels);  // refused before a classifier is trained
  print_notes(data.train.notes);
  const std::filesystem::path file = o.classifier.empty() ? cached_classifier(identify(data.train))
                                                          : std::filesystem::path(o.classifier);
  Judge judge(load_or_train_classifier(file, data.train, !o.classifier.empty(), o.optimizer),
              data.train, data.test, labels, metrics_of(o));
  Verdict verdict{.count = static_cast<std::int64_t>(labels.size()),
                  .test_pictures = data.test.images.dim(0),
                  .classifier_accuracy = judge.test_accuracy(),
                  .metrics = judge.metrics(),
                  .floors = judge.floors(),
                  .sets = {}};
  return {file, std::move(judge), std::move(verdict), std::move(pairs)};
}

// `cell` and `flow` (pictures_of_flow) are those of a table; else null and undefined.
DrawnSet drawn_set(const diffusion::Pipeline& model, const diffusion::GenerateOptions& g,
                   const SamplerCell* cell, const Tensor& flow, Trial& trial) {
  const bool conditional = model.conditioning().classes() > 0;
  const Tensor pictures = diffusion::generate(model, g);
  trial.pairs.add(pictures);
  DrawnSet set{
      .name = cell          ? std::string(g.sampler.name)
              : conditional ? fmt::format("guidance {}", g.guidance)
                            : "drawn",
      .measures = trial.judge(pictures, conditional ? g.labels : std::vector<std::int64_t>{})};
  if (conditional) set.guidance = g.guidance;
  set.drawn = cell ? *cell : SamplerCell{.sampler = g.sampler, .evaluations = 0, .steps = *g.steps};
  set.evaluations = evaluations(model, g);
  if (cell && !cell->adds_noise) set.from_flow = distance(pictures, flow);
  return set;
}

void print(const EvaluateOptions& o, const Trial& trial, const std::string& how) {
  trial.pairs.write();
  const Verdict& verdict = trial.verdict;
  if (o.json) {
    fmt::print("{}\n", to_json(verdict).dump(2));
    return;
  }
  fmt::print("classifier: {:.2f} % right on the {} test pictures ({})\n{} pictures{}\n\n{}",
             verdict.classifier_accuracy, verdict.test_pictures,
             trial.file.empty() ? "not kept" : trial.file.string(), verdict.count, how,
             o.table.empty() ? as_text(verdict) : sampler_table(verdict));
}

// Pictures from anywhere, with labels or without, beside the data's.
data::ImageDataset open_pictures(const EvaluateOptions& o, const data::ImageDataset& train) {
  constexpr std::int64_t kFewest = 20;
  data::ImageDataset drawn = data::load_dataset(o.pictures, load_options(o.size, o.background));
  const Shape &s = drawn.images.shape(), &real = train.images.shape();
  if (s[0] < kFewest)
    throw Error("evaluate",
                fmt::format("{}: expected {} pictures or more, got {}", o.pictures, kFewest, s[0]));
  if (s[1] != real[1] || s[2] != real[2] || s[3] != real[3])
    throw Error("evaluate", fmt::format("{}: the pictures are {}x{}x{}, the data has {}x{}x{}",
                                        o.pictures, s[1], s[2], s[3], real[1], real[2], real[3]));
  if (drawn.classes == 0) return drawn;
  const std::vector<std::string>& names = train.class_names;
  for (const std::int64_t label : data::used_labels(drawn)) {
    const std::string& name = drawn.class_names[static_cast<std::size_t>(label)];
    if (std::find(names.begin(), names.end(), name) == names.end())
      throw Error("evaluate",
                  fmt::format("{}: the data has no class {}", o.pictures, io::in_quotes(name)));
  }
  data::match_split(drawn, train);  // the data's numbers for the classes
  return drawn;
}

// --pictures
void evaluate_pictures(const EvaluateOptions& o) {
  const Splits data = open_splits(o);
  const data::ImageDataset drawn = open_pictures(o, data.train);
  print_notes(drawn.notes);
  std::vector<std::int64_t> labels;
  if (drawn.classes > 0) labels = labels_of(drawn);
  Trial trial = open_trial(
      o, data, labels.empty() ? classes_in_turn(data.train, drawn.images.dim(0)) : labels);
  trial.pairs.add(drawn.images);
  trial.verdict.sets.push_back({.name = "pictures", .measures = trial.judge(drawn.images, labels)});
  print(o, trial, " of " + o.pictures);
}

void evaluate(const EvaluateOptions& o, Device device) {
  if (!o.pictures.empty()) return evaluate_pictures(o);
  diffusion::Pipeline model = diffusion::load_pipeline(o.model);
  model.expect_sampling();
  if (o.spacing) model.scheduler.timestep_spacing = *o.spacing;
  nn::use(*model.params, device, *o.precision);
  print_notes(model.notes);
  Splits data = open_splits(o);
  fit_to_model(data, model);
  if (o.likelihood) return print_likelihood(o, model, data.test);
  const std::vector<std::int64_t> labels = classes_in_turn(data.train, o.count);
  std::vector<SamplerCell> cells;
  if (!o.table.empty()) cells = sampler_cells(model, o.evaluations);
  const std::vector<diffusion::GenerateOptions> sets = drawings(o, model, labels, cells);
  Trial trial = open_trial(o, data, labels);
  const Tensor flow = cells.empty() ? Tensor{} : pictures_of_flow(model, sets.front());
  for (std::size_t i = 0; i < sets.size(); ++i)
    trial.verdict.sets.push_back(
        drawn_set(model, sets[i], cells.empty() ? nullptr : &cells[i], flow, trial));
  print(o, trial,
        cells.empty() ? fmt::format(", DDIM, {} steps", o.steps)
                      : fmt::format("; columns: evaluations of the network; cells: {}", kCellHelp));
}

}  // namespace

RunSubcommand declare_evaluate(CommandLine& line) {
  const auto o = std::make_shared<EvaluateOptions>();
  line(o->model, {"model", "Folder of a run"});
  line(o->pictures,
       {"pictures",
        "Instead of a model's: a folder of PNG or JPEG files (sub-folders are classes), a .npy or "
        ".npz file of pictures, from any source; labels are optional"});
  line.needs_one_of({"model", "pictures"}, "--model DIR or --pictures FOLDER");
  line(o->data, {"data", "Labelled pictures with a test split, as `train` takes them"});
  line(o->size, kSizeOption, kSize);
  line(o->background, kBackgroundOption, kBackground);
  line(o->count, {"count", "Pictures to draw for each row"}, {100, 1 << 20});
  line(o->steps, {"steps", "DDIM steps"}, kSteps);
  line(o->spacing, kSpacingOption, diffusion::kSpacings);
  line(o->clip, kClipOption, {"on", "diffusers", "dynamic", "off"});
  line(o->guidance,
       {"guidance", "Only this guidance (default: 1, and 2 where the model was trained for it)"},
       kGuidances);
  line(o->table,
       {"table", "Instead: every sampler at 1, 2, 4, ... evaluations of the network, as a table"},
       {"samplers"});
  line(o->evaluations,
       {"evaluations", fmt::format("The table's largest number of evaluations, of {}",
                                   fmt::join(kEvaluations, ", "))},
       {1, *std::rbegin(kEvaluations)});
  line(o->metrics, {"metrics", metrics_help()}, kMetrics);
  line(o->pairs,
       {"pairs",
        "PNG file for the pictures nearest to training pictures: in each row of pairs, the "
        "drawn ones above, the training pictures below"});
  line(o->seed, kSeedOption, kSeeds);
  line(o->classifier, {"classifier",
                       "Weights of the classifier; trained and written there if missing (default: "
                       "in ~/.cache/sfumato)"});
  line(
      o->optimizer,
      {"optimizer",
       "What trains the --classifier, if it is missing; default adamw. Muon needs a quarter of the "
       "pictures; its numbers are not those of other judges"},
      Choices<nn::Optimizer>(nn::Optimizer::all));
  line(o->precision, kPrecisionOption, Choices<nn::Precision>(nn::Precision::all));
  line(o->likelihood, {"likelihood",
                       "Instead: bits/dim of the first --count test pictures, by the probability "
                       "flow and by the bound"});
  line(o->json, {"json", "As JSON"});
  line.needs("evaluations", "table");
  line.needs("optimizer", "classifier");
  line.excludes("table", {"steps", "metrics", "pairs"});
  line.excludes("likelihood", {"table", "steps", "spacing", "metrics", "pairs", "classifier"});
  line.excludes("pictures", {"model", "count", "steps", "spacing", "clip", "guidance", "table",
                             "seed", "precision", "likelihood"});
  return [o](Device device) { evaluate(*o, device); };
}

}  // namespace sfumato::apps
