// A pipeline takes another network than the U-Net: a multilayer perceptron on single pixels, defined here, is trained
// and drawn with by the same functions.
#include "nn/network.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/generate.h"
#include "diffusion/objective.h"
#include "diffusion/pipeline.h"
#include "nn/layers.h"
#include "nn/optim.h"

namespace sfumato::diffusion {
namespace {

// y = W_2 silu(W_1 x + embedding of t + embedding of the class), for each pixel by itself.
class PixelMlp : public nn::Network {
 public:
  PixelMlp(const nn::Scope& s, std::int64_t rows)
      : in_(s / "in", 1, kWidth),
        time_(s / "time", kWidth, kWidth),
        class_(s / "class", rows, kWidth),
        out_(s / "out", kWidth, 1) {
    size_multiple = 2;  // as if it halved pictures
    conditioning = {.kind = nn::Conditioning::Kind::table, .rows = rows, .null_label = rows - 1};
  }

  Var operator()(const Var& x, const Tensor& t, const Tensor& labels,
                 const nn::Mode&) const override {
    conditioning.check(labels, x.dim(0));
    const Var features = Var(nn::sinusoidal_embedding(t, kWidth, true, 0));
    const Var temb = reshape(time_(features) + class_(labels), {x.dim(0), 1, 1, kWidth});
    return out_(silu(in_(x) + temb));
  }
  io::Json config() const override {
    return {{"_class_name", "PixelMlp"}, {"num_class_embeds", conditioning.rows}};
  }

 private:
  static constexpr std::int64_t kWidth = 16;
  nn::Linear in_;
  nn::TimestepEmbedding time_;
  nn::Embedding class_;
  nn::Linear out_;
};

Pipeline new_pixel_model() {
  Pipeline model =
      make_pipeline([](const nn::Scope& scope) { return std::make_unique<PixelMlp>(scope, 3); },
                    default_scheduler(), 1);
  model.network->sample_size = {4, 6};
  return model;
}

// Class 0 is black, class 1 is white; null label 2 is seen as well.
void train(const Pipeline& model, std::uint64_t steps) {
  const Schedule schedule = make_schedule(model.scheduler);
  const Prediction prediction = model.scheduler.prediction_type;
  const std::int64_t n = 12;
  nn::AdamW adam(*model.params, {});
  Tensor x0({n, 4, 6, 1}, DType::f32), labels({n}, DType::i64);
  for (std::int64_t i = 0; i < n; ++i) {
    labels.slice(i, i + 1).copy_from(Tensor::full({1}, static_cast<double>(i % 3), DType::i64));
    const double grey = i % 3 == 2 ? (i % 2 ? 1 : -1) : i % 3 ? 1 : -1;
    x0.slice(i, i + 1).copy_from(Tensor::full({1, 4, 6, 1}, grey));
  }
  for (std::uint64_t k = 0; k < steps; ++k) {
    const Tensor t = Rng(1, Purpose::timestep, k).randint({n}, schedule.steps());
    const Tensor eps = Rng(1, Purpose::noise, k).normal(x0.shape());
    const Tensor xt = q_sample(schedule, x0, t, eps);
    model.params->zero_grad();
    const Var y = (*model.network)(xt, t, labels, {.training = true});
    mse(y, target(prediction, schedule, x0, eps, t)).backward();
    adam.step(1e-2, {nn::gradient_norm(*model.params), 1});
  }
}

double mean_grey(const Tensor& pictures, std::int64_t i) {
  double sum = 0;
  for (const std::uint8_t v : pictures.slice(i, i + 1).values<std::uint8_t>()) sum += v;
  const std::int64_t numbers = pictures.size() / pictures.dim(0);
  return sum / static_cast<double>(numbers);
}

TEST(Network, AnotherThanTheUNetIsTrainedAndDraws) {
  const Pipeline model = new_pixel_model();
  train(model, 150);
  const Tensor pictures =
      generate(model, {.labels = {0, 1, 0, 1}, .guidance = default_guidance(model), .seed = 3});
  ASSERT_EQ(pictures.shape(), (Shape{4, 4, 6, 1}));
  for (const std::int64_t black : {0, 2}) EXPECT_LT(mean_grey(pictures, black), 64);
  for (const std::int64_t white : {1, 3}) EXPECT_GT(mean_grey(pictures, white), 192);
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Network, ItsLimitsArePipelineLimits) {
  const Pipeline model = new_pixel_model();
  EXPECT_NE(
      message_of([&] { generate(model, {.labels = {0}, .height = 5}); }).find("multiples of 2"),
      std::string::npos);
  EXPECT_NE(message_of([&] { generate(model, {.labels = {3}}); }).find("the model knows 0..1"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              model.network->with_rows(nn::Scope(*model.params), 4);
            }).find("class table"),
            std::string::npos);
}

TEST(Network, TheClassInAConfigIsLookedUp) {
  ASSERT_NE(nn::find_network_class("UNet2DModel"), nullptr);
  EXPECT_EQ(nn::find_network_class("PixelMlp"), nullptr);
  const io::JsonObject config(new_pixel_model().network->config(), "c.json");
  EXPECT_EQ(message_of([&] { nn::network_class_of(config, " of a \"P\""); }),
            "[c.json] this is the config of a \"PixelMlp\" of a \"P\"; sfumato reads "
            "UNet2DModel, DiTTransformer2DModel, Unet");
}

}  // namespace
}  // namespace sfumato::diffusion
