#include "apps/guide.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "apps/judge.h"
#include "apps/notes.h"
#include "apps/run_folder.h"
#include "diffusion/eval/classifier.h"
#include "diffusion/generate.h"
#include "nn/checkpoint.h"
#include "tensor/io/safetensors.h"

namespace sfumato::apps {

namespace fs = std::filesystem;

namespace {

// Where `evaluate` keeps the classifier of a run's data.
fs::path kept_classifier(const std::string& model, const char* option) {
  std::optional<DataIdentity> data;
  std::string trained_on = "DATA";
  try {
    const RunRecord record = read_record(model);
    data = record.data;
    trained_on = record.options.data;
  } catch (const Error&) {  // not a run's folder
  }
  if (!data)
    throw Error(model,
                fmt::format("there is no run that says which data a classifier has to know: name "
                            "one with {} FILE, as `sfumato evaluate --data DATA --classifier FILE` "
                            "writes it",
                            option));
  fs::path file = cached_classifier(*data);
  std::error_code ignored;
  if (file.empty() || !fs::exists(file, ignored))
    throw Error(
        model,
        fmt::format("there is no classifier of the run's data yet: `sfumato evaluate --model "
                    "{} --data {}` trains one, or name one with {} FILE",
                    model, trained_on, option));
  return file;
}

}  // namespace

std::optional<diffusion::Pipeline> load_guide(const std::string& guide, const std::string& model,
                                              const diffusion::Pipeline& pipeline, Device device,
                                              const nn::Precision& precision) {
  if (guide.empty()) return std::nullopt;
  const bool earlier = guide == "earlier";
  const fs::path dir = earlier ? fs::path(model) / kEarlierModel : fs::path(guide);
  std::error_code ignored;
  if (earlier && !fs::is_directory(dir, ignored))
    throw Error(
        model,
        "--guide earlier: expected a run that kept an earlier model, as runs do whose checkpoints "
        "(--checkpoint-every) fall between a quarter and half of the training; there is no " +
            dir.string());
  diffusion::Pipeline loaded = diffusion::load_pipeline(dir.string());
  diffusion::expect_guide(pipeline, loaded);
  nn::use(*loaded.params, device, precision);
  print_notes(loaded.notes);
  return loaded;
}

diffusion::PictureClassifier load_picture_classifier(const std::string& file, const char* option,
                                                     const std::string& model,
                                                     const diffusion::Pipeline& pipeline,
                                                     Device device) {
  const io::SafeTensors weights(file.empty() ? kept_classifier(model, option) : fs::path(file));
  for (const char* name : {"conv_in.weight", "out.weight"})
    if (!weights.contains(name) || weights.shape(name).rank() < 2)
      throw Error(weights.path().string(),
                  "expected the weights of a classifier, as `sfumato evaluate --classifier FILE` "
                  "writes them");
  const std::int64_t channels = weights.shape("conv_in.weight")[1],
                     classes = weights.shape("out.weight")[0],
                     known = pipeline.conditioning().classes();
  // Rows at the end that no picture has may be more than the classes.
  const std::vector<std::int64_t> drawable = diffusion::drawable_labels(pipeline);
  const std::int64_t needed = drawable.empty() ? 0 : drawable.back() + 1;
  if (channels != pipeline.network->in_channels ||
      (known > 0 && (classes < needed || classes > known)))
    throw Error(weights.path().string(),
                fmt::format("knows {} classes of pictures of {} channels, the model draws {} of {}",
                            classes, channels, known > 0 ? std::to_string(known) : "pictures",
                            pipeline.network->in_channels));
  const auto classifier = std::make_shared<eval::Classifier>(channels, classes);
  nn::load_parameters(classifier->params(), weights);
  nn::use(classifier->params(), device, nn::Precision::f32);
  return {classes, [classifier](const Var& x0) { return (*classifier)(x0).logits; }};
}

}  // namespace sfumato::apps
