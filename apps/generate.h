// Sampling with a trained model: what `sample` and the pictures during training share.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "diffusion/pipeline.h"
#include "diffusion/sampler.h"

namespace sfumato::apps {

// What to do with an x̂_0 outside the data's range.
//   on         cut it off, and compute ε̂ anew from what is left (diffusion/sampler.h)
//   diffusers  cut it off and keep the network's ε̂, as `diffusers` does by default
//   off        leave it
enum class Clip : std::uint8_t { on, diffusers, off };
Clip parse_clip(std::string_view name);

struct GenerateOptions {
  // One a picture; for an unconditional model, only their number counts. Picture i depends on the
  // seed, on i and on the other options alone, not on `batch` or how many pictures there are.
  std::vector<std::int64_t> labels;
  std::int64_t height = 0, width = 0;  // 0: as the model says
  std::optional<Clip> clip;            // none: `on` where the folder says clip_sample, else `off`
  std::int64_t steps = 20;
  diffusion::Method method = diffusion::Method::ddim;
  double eta = 0;
  double guidance = 1;  // above or below 1: needs the model's null label
  std::uint64_t seed = 0;
  std::int64_t batch = 64;  // pictures at a time
  // What the network thinks the picture is after each step, u8 [N,H,W,C]; may be empty.
  std::function<void(std::int64_t step, const Tensor& pictures)> on_step;
  // Asked before each run of the network; once it says true, generate throws Cancelled. May be
  // empty.
  std::function<bool()> cancelled;
};

struct Cancelled {};

// 2 where a model was trained for guidance, else 1.
double default_guidance(const diffusion::Pipeline& model);

// Rows of the class table that can be drawn: classes of which the model has seen pictures. None for
// an unconditional model.
std::vector<std::int64_t> drawable_labels(const diffusion::Pipeline& model);

// What stands above a column of pictures of this class: its name, or its number.
std::string header_of(std::int64_t label, const diffusion::Pipeline& model);

// [N,H,W,C] of the pictures that are asked for.
Shape picture_shape(const diffusion::Pipeline& model, const GenerateOptions& options);

// Throws Error unless generate() can draw what is asked for: a network that maps pictures to
// pictures, a size that it can halve, labels that it knows, guidance that it was trained for.
void expect_drawable(const diffusion::Pipeline& model, const GenerateOptions& options);

// -> u8 [N,H,W,C]. Throws as expect_drawable does, and where the numbers turn infinite; Cancelled
// as said above.
Tensor generate(const diffusion::Pipeline& model, const GenerateOptions& options);

}  // namespace sfumato::apps
