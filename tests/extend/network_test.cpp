// docs/extend.md: a network.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sfumato.h"

namespace {

using namespace sfumato;

// Three convolutions; the middle one's input also has the embedding of t.
class ConvNet : public nn::Network {
 public:
  ConvNet(const nn::Scope& s, std::int64_t channels, std::int64_t width)
      : in_(s / "in", channels, width, 3, Conv2dOptions::padded(1)),
        middle_(s / "middle", width, width, 3, Conv2dOptions::padded(1)),
        out_(s / "out", width, channels, 3, Conv2dOptions::padded(1)),
        time_(s / "time", width, width),
        width_(width) {
    in_channels = out_channels = channels;
  }

  // x [N,H,W,C], t [N] -> [N,H,W,C]
  Var operator()(const Var& x, const Tensor& t, const Tensor& labels,
                 const nn::Mode&) const override {
    conditioning.check(labels, x.dim(0));
    const Var time =
        time_(Var(nn::sinusoidal_embedding(t, width_, true, 0, x.dtype())));  // [N,width]
    return out_(silu(middle_(silu(in_(x) + reshape(time, {x.dim(0), 1, 1, width_})))));
  }

  io::Json config() const override {
    return {{"_class_name", "ConvNet"}, {"in_channels", in_channels}, {"width", width_}};
  }

 private:
  nn::Conv2d in_, middle_, out_;
  nn::Linear time_;
  std::int64_t width_;
};

// What a row of nn/network.cpp names: reads config.json.
nn::BuildNetwork read_conv_net(const io::JsonObject& config, std::vector<std::string>*) {
  const std::int64_t channels = config.get_int("in_channels", 1), width = config.get_int("width");
  return [=](const nn::Scope& s) { return std::make_unique<ConvNet>(s, channels, width); };
}

TEST(Extend, ANetwork) {
  const io::JsonObject config({{"_class_name", "ConvNet"}, {"width", 8}}, "config.json");
  const diffusion::Pipeline model = diffusion::make_pipeline(
      read_conv_net(config, nullptr), diffusion::default_scheduler(), /*seed=*/1);
  const Tensor pictures =
      diffusion::generate(model, {.labels = {0, 0}, .height = 8, .width = 8, .steps = 2});
  EXPECT_EQ(pictures.shape(), (Shape{2, 8, 8, 1}));
}

}  // namespace
