#include "nn/vae.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "nn/likelihood.h"
#include "tensor/error.h"

namespace sfumato::nn {
namespace {

constexpr double kNormEps = 1e-5;
// The scale of a pixel lies in (e^{−7}, 1): narrower than half a bin (PixelCNN++ stops there too) to half the range.
constexpr double kLowestLogScale = -7;

}  // namespace

void VaeConfig::check() const {
  const auto fail = [](const std::string& what) { throw Error("vae", what); };
  if (block_out_channels.empty()) fail("block_out_channels: expected a level at least");
  for (const std::int64_t c : block_out_channels)
    if (c < 1 || norm_num_groups < 1 || c % norm_num_groups != 0)
      fail(fmt::format("block_out_channels: {} is not a multiple of norm_num_groups {}", c,
                       norm_num_groups));
  if (channels < 1 || code < 1 || layers_per_block < 1 || classes < 0)
    fail("channels, code and layers_per_block: expected 1 or more, classes 0 or more");
  if (height < 1 || width < 1 || height % size_multiple() != 0 || width % size_multiple() != 0)
    fail(
        fmt::format("pictures of {}x{}: expected multiples of {}", height, width, size_multiple()));
}

Vae::Vae(const Scope& s, const VaeConfig& config)
    : config_((config.check(), config)),
      inner_height_(config.height / config.size_multiple()),
      inner_width_(config.width / config.size_multiple()),
      conv_in_(s / "conv_in", config.channels, config.block_out_channels[0], 3,
               Conv2dOptions::padded(1)),
      to_code_(s / "to_code", inner_height_ * inner_width_ * config.block_out_channels.back(),
               2 * config.code),
      from_code_(s / "from_code", config.code,
                 inner_height_ * inner_width_ * config.block_out_channels.back()),
      norm_out_(s / "norm_out", config.block_out_channels[0], config.norm_num_groups, kNormEps),
      conv_out_(s / "conv_out", config.block_out_channels[0], 2 * config.channels, 3,
                Conv2dOptions::padded(1)) {
  const std::vector<std::int64_t>& channels = config.block_out_channels;
  if (config.classes > 0)
    class_table_.emplace(s / "class_embedding", config.classes, 4 * channels[0]);
  std::int64_t in = channels[0];
  for (std::size_t i = 0; i < channels.size(); ++i) {
    const Scope b = s / "down_blocks" / static_cast<std::int64_t>(i);
    Level& level = down_.emplace_back();
    for (std::int64_t j = 0; j < config.layers_per_block; ++j, in = channels[i])
      level.resnets.push_back(resnet(b / "resnets" / j, in, channels[i]));
    if (i + 1 < channels.size()) level.down.emplace(b / "downsamplers" / 0, in, 1);
  }
  for (std::size_t i = 0; i < channels.size(); ++i) {
    const Scope b = s / "up_blocks" / static_cast<std::int64_t>(i);
    const std::int64_t out = channels[channels.size() - 1 - i];
    Level& level = up_.emplace_back();
    for (std::int64_t j = 0; j <= config.layers_per_block; ++j, in = out)
      level.resnets.push_back(resnet(b / "resnets" / j, in, out));
    if (i + 1 < channels.size()) level.up.emplace(b / "upsamplers" / 0, out);
  }
  const auto projections = [&s](const std::vector<Level>& levels) {
    std::vector<const Linear*> of_blocks;
    for (const Level& level : levels)
      for (const ResnetBlock& block : level.resnets) of_blocks.push_back(&block.time_emb_proj);
    return JoinedLinear(s, of_blocks);
  };
  down_projections_ = projections(down_);
  up_projections_ = projections(up_);
}

ResnetBlock Vae::resnet(const Scope& scope, std::int64_t in, std::int64_t out) const {
  return ResnetBlock(scope, {.in = in,
                             .out = out,
                             .temb = 4 * config_.block_out_channels[0],
                             .groups = config_.norm_num_groups,
                             .eps = kNormEps});
}

Vars Vae::condition(const JoinedLinear& projections, const Tensor& labels, std::int64_t n,
                    DType dtype) const {
  const Var label = class_table_
                        ? (*class_table_)(labels)
                        : Var(Tensor::zeros({n, 4 * config_.block_out_channels[0]}, dtype));
  return projections(label, {.silu = true});
}

Vae::Code Vae::encode(const Var& x, const Tensor& labels) const {
  const std::int64_t n = x.dim(0);
  expect_shape("vae", "pictures", x.value(), {n, config_.height, config_.width, config_.channels});
  const Vars told = condition(*down_projections_, labels, n, x.dtype());
  auto next = told.begin();
  Var h = conv_in_(x);
  for (const Level& level : down_) {
    for (const ResnetBlock& block : level.resnets) h = block(h, *next++, {});
    if (level.down) h = (*level.down)(h);
  }
  const Var both = to_code_(silu(reshape(h, {n, -1})));  // [N, 2 code]
  const Vars parts = split_last(both, std::array{config_.code, config_.code});
  return {parts[0], parts[1]};
}

Vae::Pixels Vae::decode(const Var& z, const Tensor& labels) const {
  const std::int64_t n = z.dim(0);
  expect_shape("vae", "code", z.value(), {n, config_.code});
  const Vars told = condition(*up_projections_, labels, n, z.dtype());
  auto next = told.begin();
  Var h =
      reshape(from_code_(z), {n, inner_height_, inner_width_, config_.block_out_channels.back()});
  for (const Level& level : up_) {
    for (const ResnetBlock& block : level.resnets) h = block(h, *next++, {});
    if (level.up) h = (*level.up)(h);
  }
  const Var both = conv_out_(h, {.norm = norm_out_.with_silu()});  // [N,H,W,2C]
  const Vars parts = split_last(both, std::array{config_.channels, config_.channels});
  return {parts[0], (tanh(parts[1]) + -1.0) * (-kLowestLogScale / 2)};
}

Var Bound::total() const { return distortion + rate; }

double Bound::bits_per_dim(double nats, const Shape& pictures) {
  const std::int64_t dims = pictures.size() / pictures[0];
  return nats / std::numbers::ln2 / static_cast<double>(dims);
}

Bound bound(const Vae& vae, const Tensor& x, const Tensor& labels, Rng rng) {
  const double n = static_cast<double>(x.dim(0));
  const auto [mean, log_variance] = vae.encode(x, labels);
  const Var eps = Var(rng.normal(mean.shape(), x.dtype()));
  const Var z = mean + exp(log_variance * 0.5) * eps;
  const auto [pixel_mean, log_scale] = vae.decode(z, labels);
  return {.distortion = sum(discretized_logistic(x, pixel_mean, log_scale)) * (1 / n),
          .rate = sum(square(mean) + exp(log_variance) + -1.0 - log_variance) * (0.5 / n)};
}

}  // namespace sfumato::nn
