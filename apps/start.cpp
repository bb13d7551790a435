#include "apps/start.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "apps/journal.h"
#include "apps/machine.h"
#include "apps/setup.h"
#include "nn/precision.h"
#include "nn/presets.h"

namespace sfumato::apps {
namespace {

void make_absolute(std::string& path) { path = std::filesystem::absolute(path).string(); }

// The options with absolute paths: a run may be resumed from another directory.
TrainOptions located(TrainOptions o) {
  if (o.data != "mnist") make_absolute(o.data);
  if (!nn::is_preset(o.model)) make_absolute(o.model);
  if (!o.init.empty()) make_absolute(o.init);
  return o;
}

// What `asked` names by other words than the record need not be restated: data/ and ./data.
void forget_same_paths(TrainOptions& asked, const TrainOptions& recorded) {
  for (const auto& [key, path] :
       {std::pair("data", &TrainOptions::data), std::pair("model", &TrainOptions::model),
        std::pair("init", &TrainOptions::init)})
    if (std::error_code ignored; std::filesystem::equivalent(asked.*path, recorded.*path, ignored))
      asked.given.erase(key);
}

data::ImageDataset open_recorded_dataset(const TrainOptions& o, const std::string& dir) {
  try {
    return open_dataset(o.data, load_options(o.size, o.background));
  } catch (const Error& e) {
    if (std::error_code ignored; std::filesystem::exists(o.data, ignored)) throw;
    throw Error("train", fmt::format("the data of the run are not there: {}; if they have moved: "
                                     "`sfumato train --resume {} --data PATH`",
                                     e.what(), dir));
  }
}

// Throws Error when the data are not those of the checkpoint.
void expect_same_data(const RunRecord& record, const DataIdentity& now, const TrainOptions& asked,
                      std::vector<std::string>& notes) {
  if (!record.data) {
    notes.push_back(
        "the run does not say which data it was trained on (an older version made it): these are "
        "taken and recorded");
    return;
  }
  const std::string what = difference(*record.data, now);
  if (what.empty()) return;
  if (!asked.accept_data)
    throw Error("train",
                fmt::format("the data are not those that the run in {} was trained on: {}; to go "
                            "on with them all the same: --accept-data",
                            asked.resume, what));
  notes.push_back(fmt::format("the data have changed ({}): these are taken and recorded", what));
}

void expect_same_arithmetic(const RunRecord& record, std::vector<std::string>& notes) {
  const io::JsonObject machine(describe_machine(), "machine");
  auto compare = [&](const char* what, const std::string& then, const char* key) {
    if (const std::string now = machine.get_string(key); !then.empty() && then != now)
      notes.push_back(
          fmt::format("the run was trained with the {} {}, here it is {}: the last bits "
                      "differ from those of a run that was never stopped",
                      what, then, now));
  };
  compare("instruction set", record.isa, "isa");
  compare("convolution method", record.convolution, "convolution");
}

void expect_null_label(const diffusion::Pipeline& model, const TrainOptions& asked) {
  if (asked.given.contains("label_dropout") && asked.label_dropout > 0.0 &&
      !model.conditioning().null_label)
    throw Error("train",
                "--label-dropout needs a network with a row for 'no class' in its class table, and "
                "data with labels");
}

// With the names of the classes in the model, and all that loading had to say.
Run assembled(Run run) {
  for (std::size_t i = 0; i < run.data.class_names.size(); ++i) {
    std::vector<std::string>& names = run.model.class_names;
    if (names.size() <= i) names.resize(i + 1);
    if (!run.data.class_names[i].empty()) names[i] = run.data.class_names[i];
  }
  for (const auto* more : {&run.data.notes, &run.model.notes})
    run.notes.insert(run.notes.end(), more->begin(), more->end());
  return run;
}

Run resume(const TrainOptions& asked, Device device) {
  RunFolder folder = RunFolder::open(asked.resume);
  const RunRecord record = folder.record();
  std::vector<std::string> notes;
  TrainOptions now = located(asked);
  forget_same_paths(now, record.options);
  TrainOptions options = restate(record.options, now, notes);
  options.stop_after = asked.stop_after;
  options.previous = asked.previous;
  nn::expect_precision(*options.precision, device);
  diffusion::expect_coupling(*options.coupling, device);
  data::ImageDataset data = open_recorded_dataset(options, asked.resume);
  const DataIdentity identity = identify(data);
  expect_same_data(record, identity, asked, notes);
  expect_same_arithmetic(record, notes);
  // Killed in its first moments, the run begins anew from its record.
  diffusion::Pipeline model =
      folder.has_state() ? diffusion::load_pipeline(folder.dir()) : new_model(options, data);
  expect_self_condition(model, options);
  expect_used(options);
  fit(model, data, options.pad);
  expect_null_label(model, asked);
  nn::use(*model.params, device, *options.precision);
  return assembled({options, record.options, std::move(folder), std::move(data), identity, notes,
                    std::move(model)});
}

}  // namespace

Run start(const TrainOptions& asked, Device device) {
  if (!asked.resume.empty()) return resume(asked, device);
  const TrainOptions options = located(asked);
  nn::expect_precision(*options.precision, device);
  diffusion::expect_coupling(*options.coupling, device);
  data::ImageDataset data =
      open_dataset(options.data, load_options(options.size, options.background));
  const DataIdentity identity = identify(data);
  diffusion::Pipeline model = new_model(options, data);
  expect_self_condition(model, options);
  expect_used(options);
  fit(model, data, options.pad);
  expect_null_label(model, asked);
  nn::use(*model.params, device, *options.precision);
  RunFolder folder = RunFolder::create(options.out, options, identity);
  return assembled(
      {options, options, std::move(folder), std::move(data), identity, {}, std::move(model)});
}

double learning_rate(const TrainOptions& o, const TrainState& state, double progress) {
  return o.lr * nn::warmup_cosine(state.step, o.warmup, progress, o.lr_floor);
}

std::string learning_rate_note(const Run& run, const TrainState& state) {
  const std::int64_t pictures = run.data.images.dim(0);
  auto rate = [&](const TrainOptions& o) {
    return learning_rate(o, state, make_budget(o, pictures).used(state));
  };
  const double before = rate(run.recorded), now = rate(run.options);
  if (before == now) return "";
  return fmt::format(
      "the learning rate at step {} is {:.3g} instead of {:.3g}: its cosine runs over "
      "the whole budget",
      state.step, now, before);
}

}  // namespace sfumato::apps
