// Pictures from a trained model: labels, guidance, batches and seeds around the chain of sampler.h.
//     const Pipeline model = load_pipeline("runs/a");
//     const Tensor pictures = generate(model, {.labels = {7, 7, 7}, .guidance = 2});  // u8 [3,H,W,C]
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "autograd/var.h"
#include "diffusion/pipeline.h"
#include "diffusion/sampler.h"

namespace sfumato::diffusion {

// What happens to an estimate x̂_0 outside the data's range.
//   on         it is clipped, and ε̂ is computed anew from the clipped x̂_0 (sampler.h)
//   diffusers  it is clipped, and the network's ε̂ is kept, the default of `diffusers`
//   dynamic    as `on`, by dynamic thresholding without a largest value (clip.h)
//   off        nothing
enum class Clip : std::uint8_t { on, diffusers, dynamic, off };
Clip parse_clip(std::string_view name);  // throws Error for another name

// Of pictures without noise: x0 [N,H,W,C] -> logits [N, classes], each picture by itself.
struct PictureClassifier {
  std::int64_t classes;
  std::function<Var(const Var& x0)> logits;

  void expect_class(std::int64_t label) const;  // throws Error unless it is one
};

struct Mix {
  std::int64_t label;
  double share;  // 0..1
};

struct GenerateOptions {
  // One a picture; for an unconditional model, only their number counts. Picture i depends on the
  // seed, on i and on the other options alone, not on `batch` or how many pictures there are.
  std::vector<std::int64_t> labels;
  std::int64_t height = 0, width = 0;  // 0: as the model says
  std::optional<Clip> clip = {};       // none: `on` where the folder says clip_sample, else `off`
  std::optional<std::int64_t> steps = {};  // none: default_steps()
  Sampler sampler = Sampler::ddim;
  std::optional<Spacing> spacing = {};    // none: as the folder says
  std::optional<Variance> variance = {};  // a fixed one, of ddpm; none: as the folder says
  double eta = 0;
  bool restart = false;  // SampleOptions::restart
  // The scale of guidance; other than 1 (0 by a classifier), it needs the model's null label, or a guide.
  double guidance = 1;
  Guidance method = Guidance::cfg;
  // Autoguidance (Karras 2024): a weaker model of the same pictures and labels, such as an earlier checkpoint, in the
  // place of the answer without the label. Not owned; may be null.
  const Pipeline* guide = nullptr;
  // Classifier guidance (the method `classifier`): towards pictures whose label this one reads in x̂_0
  // (classifier_guidance.h). The labels are its classes, also where the model has none. Not owned; may be null.
  const PictureClassifier* classifier = nullptr;
  // A class to be guided away from, in the place of "no class".
  std::optional<std::int64_t> negative = {};
  // A second class for each picture, or empty: the answer is (1 − share) that of the label + share that of this one.
  std::vector<Mix> mix = {};
  std::uint64_t seed = 0;
  std::int64_t batch = 64;  // pictures at a time
  // Called with the x̂_0 of each step, u8 [N,H,W,C], once all batches are drawn; may be empty.
  std::function<void(std::int64_t step, const Tensor& pictures)> on_step = {};
  // Asked before each run of the network; once it returns true, generate throws Cancelled. May be
  // empty.
  std::function<bool()> cancelled = {};
};

struct Cancelled {};

// Whether the scale is one that guides.
bool guides(const GenerateOptions& options);

// The method's own scale where a model was trained for guidance or has a guide or a classifier, else 1.
double default_guidance(const Pipeline& model, const Guidance& method = Guidance::cfg,
                        const Pipeline* guide = nullptr);

// The sampler that the model's folder says; ddim in the place of ddpm, which takes all T steps.
const Sampler& default_sampler(const Pipeline& model);

// The number of steps of a sampler where none is asked for.
std::int64_t default_steps(const Pipeline& model, const Sampler& sampler);

// Rows of the class table that can be drawn: classes of which the model has seen pictures. None for
// an unconditional model.
std::vector<std::int64_t> drawable_labels(const Pipeline& model);

// The name of a class, or its number where the model names none.
std::string class_name(std::int64_t label, const Pipeline& model);

// [N,H,W,C] of the pictures that `options` ask for.
Shape picture_shape(const Pipeline& model, const GenerateOptions& options);

// Throws Error unless generate() can draw what `options` ask for: a network that maps pictures to
// pictures, a size that it can halve, labels that it knows, guidance that it was trained for.
void expect_drawable(const Pipeline& model, const GenerateOptions& options);

// Throws Error, naming what differs, unless the guide answers in the model's words: the same prediction, process,
// channels and classes.
void expect_guide(const Pipeline& model, const Pipeline& guide);

// The pictures, u8 [N,H,W,C]. Throws Error as expect_drawable does and where a picture turns
// infinite, and Cancelled if `options.cancelled` says so. Leaves the model as it is.
Tensor generate(const Pipeline& model, const GenerateOptions& options);

// What draws pictures begin..end−1 of those that some options ask for.
struct Drawing {
  std::int64_t begin, end;
  const Schedule& schedule;
  SampleOptions options;
  Denoiser denoiser;
  Tensor
      x_T;  // ~ N(0, I), [end − begin,H,W,C]; depends on the seed and the pictures' numbers alone
};
// Calls `each` for options.batch pictures at a time, without gradients. generate() samples from x_T there; edits
// (edit_pictures.h) do something else. Throws as generate does.
void draw(const Pipeline& model, const GenerateOptions& options,
          const std::function<void(Drawing& drawing)>& each);

}  // namespace sfumato::diffusion
