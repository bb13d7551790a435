// How pictures are drawn from a model, for `sample` and `edit` alike: the options, declared once, and what the library
// makes of them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "apps/command_line.h"
#include "diffusion/generate.h"
#include "nn/precision.h"

namespace sfumato::apps {

struct DrawingOptions {
  std::string model;
  std::string clip;                                // "", on, diffusers, dynamic, off
  std::optional<diffusion::Spacing> spacing = {};  // none: as the model's scheduler says
  std::optional<diffusion::Sampler> sampler;
  std::optional<std::int64_t> steps;
  std::string variance;  // "", fixed_small, fixed_large
  double eta = 0;
  bool restart = false;
  std::optional<double> guidance;
  std::optional<diffusion::Guidance> method;         // none: cfg, or with a classifier its own
  std::optional<double> guidance_from, guidance_to;  // none: the method's
  std::string guide;                                 // "", earlier, classifier, or a folder
  std::string classifier;                            // "", or a file: of --guide classifier
  std::string negative;                              // a class
  std::optional<std::int64_t> null_label;
  std::uint64_t seed = 0;
  std::int64_t batch = 64;
  std::optional<nn::Precision> precision = nn::Precision::f32;
};

// The options; the help says which steps and guidance there are by default.
void declare_drawing(CommandLine& line, DrawingOptions& o, const std::string& default_steps,
                     const std::string& default_guidance);

// "20; all for ddpm; 5 for dopri5"
std::string default_steps_help();
// "2, 0.6 for cfgpp, 4 for apg"
std::string default_guidance_help();

struct DrawingModel {
  diffusion::Pipeline model;
  std::optional<diffusion::Pipeline> guide;
  std::optional<diffusion::PictureClassifier> classifier;

  // How many classes can be asked for of a model without classes.
  std::int64_t classes_of_classifier() const { return classifier ? classifier->classes : 0; }
};
// Of --model and --guide, on the device, with the null label of --null-label; notes are printed. Throws Error.
DrawingModel load_drawing_model(const DrawingOptions& o, Device device);

// All but the labels and the size. Refers to the model's guide and classifier. Throws Error for a name that is none.
diffusion::GenerateOptions generate_options(const DrawingOptions& o, const DrawingModel& m);

}  // namespace sfumato::apps
