// Pictures from a model's folder, as the README draws them.
#include "diffusion/generate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "diffusion/edit_pictures.h"
#include "nn/presets.h"
#include "tensor/io/image.h"
#include "tests/diffusion/support.h"
#include "tests/temporary_folder.h"

namespace sfumato::diffusion {
namespace {

namespace fs = std::filesystem;

// A folder of its own, in which the test runs: relative paths are meant from there.
class Generate : public ::testing::Test {
 protected:
  Generate() { fs::current_path(folder_.path()); }
  ~Generate() override { fs::current_path(before_); }

 private:
  fs::path before_ = fs::current_path();
  TemporaryFolder folder_;
};

// Ten classes and "no class", 28 x 28, not trained.
Pipeline new_model() {
  nn::UNetConfig tiny = nn::preset("tiny", 1, 11);
  tiny.conditioning.null_label = 10;
  Pipeline model = make_pipeline(tiny, default_scheduler(), 1);
  model.network->sample_size = {28, 28};
  return model;
}

// tests/extend/docs_test.cpp compares README.md with these lines.
TEST_F(Generate, AsTheReadmeDoesIt) {
  const Pipeline untrained = new_model();
  save_pipeline_config("runs/a", untrained);
  save_pipeline_weights("runs/a", untrained, untrained.params->flat_values());
  {
    const diffusion::Pipeline model = diffusion::load_pipeline("runs/a");
    const std::vector<std::int64_t> labels = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    const Tensor digits = diffusion::generate(model, {.labels = labels, .guidance = 2, .seed = 1});
    for (std::int64_t i = 0; i < digits.dim(0); ++i)  // u8 [10,28,28,1]
      io::write_png(fmt::format("{}.png", i), digits.slice(i, i + 1).reshape({28, 28, 1}));
  }
  EXPECT_EQ(io::read_image("9.png").shape(), (Shape{28, 28, 1}));
}

// docs/editing.md shows these lines.
TEST_F(Generate, EditsInALineEach) {
  const Pipeline untrained = new_model();
  save_pipeline_config("runs/a", untrained);
  save_pipeline_weights("runs/a", untrained, untrained.params->flat_values());
  for (const char* name : {"seven.png", "mask.png"})
    fs::copy_file(fs::path(SFUMATO_SOURCE_DIR) / "docs/editing" / name, name);
  std::vector<Tensor> all;
  {
    const diffusion::Pipeline model = diffusion::load_pipeline("runs/a");
    const Tensor seven = io::read_image("seven.png"), mask = io::read_image("mask.png");
    const diffusion::GenerateOptions o{.labels = {2, 7, 8}};
    const Tensor filled = diffusion::repaint(model, o, seven, mask);
    const Tensor painted = diffusion::image_to_image(model, o, seven, /*strength=*/0.6);
    const Tensor others = diffusion::redraw(model, o, seven, {.label = 7});
    const Tensor varied = diffusion::redraw(model, o, seven, {.label = 7}, /*share=*/0.3);
    all = {filled, painted, others, varied};
  }
  for (const Tensor& pictures : all) EXPECT_EQ(pictures.shape(), (Shape{3, 28, 28, 1}));
}

TEST_F(Generate, NeitherBatchNorCountChangesAPicture) {
  const Pipeline model = new_model();
  for (const Sampler* sampler : Sampler::all) {
    GenerateOptions o{.labels = {3, 1, 4},
                      .height = 8,
                      .width = 8,
                      .steps = 3,
                      .sampler = *sampler,
                      .guidance = 2,
                      .seed = 5};
    if (sampler->one_picture) o.labels = {3, 1}, o.guidance = 1;  // hundreds of evaluations
    const Tensor together = generate(model, o);
    o.batch = 2;
    EXPECT_EQ(testing::max_difference(generate(model, o), together), 0);
    o.labels = {3};
    EXPECT_EQ(testing::max_difference(generate(model, o), together.slice(0, 1)), 0);
  }
}

// The same for every method of guidance, and for another model as the guide.
TEST_F(Generate, NeitherDoesGuidance) {
  const Pipeline model = new_model(), guide = new_model();
  for (const Guidance* method : Guidance::all)
    for (const Pipeline* by : {static_cast<const Pipeline*>(nullptr), &guide}) {
      if (method->by_classifier) continue;  // classifier_guidance_test.cpp
      GenerateOptions o{.labels = {3, 1, 4}, .height = 8, .width = 8, .steps = 4, .seed = 5};
      o.method = *method, o.guidance = method->default_scale, o.guide = by;
      const Tensor together = generate(model, o);
      o.batch = 2;
      EXPECT_EQ(testing::max_difference(generate(model, o), together), 0) << method->name;
    }
}

TEST_F(Generate, RefusesWhatTheModelCannotDraw) {
  Pipeline model = new_model();
  EXPECT_THROW(generate(model, {}), Error);                              // no picture
  EXPECT_THROW(generate(model, {.labels = {11}}), Error);                // no such class
  EXPECT_THROW(generate(model, {.labels = {1}, .height = 30}), Error);   // 30 is no multiple of 4
  EXPECT_THROW(generate(model, {.labels = {1}, .steps = 1001}), Error);  // of 1000
  EXPECT_THROW(generate(model, {.labels = {1}, .cancelled = [] { return true; }}), Cancelled);
  model.network->conditioning.null_label.reset();
  EXPECT_THROW(generate(model, {.labels = {1}, .guidance = 2}), Error);
  Pipeline other = new_model();
  EXPECT_EQ(generate(model, {.labels = {1}, .steps = 1, .guidance = 2, .guide = &other}).dim(0), 1);
  other.scheduler.prediction_type = Prediction::eps;
  EXPECT_THROW(generate(model, {.labels = {1}, .guidance = 2, .guide = &other}), Error);
  model.sampling_problem = "no schedule";
  EXPECT_THROW(generate(model, {.labels = {1}}), Error);
}

}  // namespace
}  // namespace sfumato::diffusion
