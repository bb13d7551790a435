#include "nn/unet.h"

#include <fmt/format.h>

#include <array>

#include "autograd/checkpoint.h"

namespace sfumato::nn {

void UNetConfig::check() const {
  auto refuse = [](const std::string& what) { throw Error("unet", what); };
  if (block_out_channels.empty()) refuse("block_out_channels is empty");
  if (block_out_channels.size() > 12) refuse("block_out_channels: more than 12 levels");
  if (down_attention.size() != block_out_channels.size() ||
      up_attention.size() != block_out_channels.size())
    refuse(fmt::format(
        "expected one down and one up block for each of the {} block_out_channels, got {} and {}",
        block_out_channels.size(), down_attention.size(), up_attention.size()));
  auto positive = [&](const char* field, std::int64_t value, std::int64_t limit) {
    if (value < 1 || value > limit)
      refuse(fmt::format("{}: expected 1..{}, got {}", field, limit, value));
  };
  positive("in_channels", in_channels, 1 << 16);
  positive("out_channels", out_channels, 1 << 16);
  positive("layers_per_block", layers_per_block, 64);
  positive("norm_num_groups", norm_num_groups, 1 << 16);
  if (attention_head_dim) positive("attention_head_dim", *attention_head_dim, 1 << 16);
  if (class_embed == ClassEmbed::table) positive("num_class_embeds", num_class_embeds, 1 << 24);
  for (std::int64_t c : block_out_channels) {
    positive("block_out_channels", c, 1 << 16);
    if (c % norm_num_groups != 0)
      refuse(fmt::format("block_out_channels {} is not divisible by norm_num_groups {}", c,
                         norm_num_groups));
  }
  positive("temb_dim", temb_dim(), 1 << 20);  // four times the first of these, so not before
  if (downsample_padding < 0 || downsample_padding > 1)
    refuse(fmt::format("downsample_padding: expected 0 or 1, got {}", downsample_padding));
  if (!(dropout >= 0 && dropout < 1))
    refuse(fmt::format("dropout: expected 0 <= p < 1, got {}", dropout));
  if (!(norm_eps > 0))
    refuse(fmt::format("norm_eps: expected a positive number, got {}", norm_eps));
  if (mid_block_scale_factor == 0) refuse("mid_block_scale_factor is 0");
}

UNet::UNet(const Scope& s, const UNetConfig& config)
    : config_((config.check(), config)),
      conv_in_(s / "conv_in", config.in_channels, config.block_out_channels[0], 3,
               Conv2dOptions::padded(1)),
      time_embedding_(s / "time_embedding", config.block_out_channels[0], config.temb_dim()),
      conv_norm_out_(s / "conv_norm_out", config.block_out_channels[0], config.norm_num_groups,
                     config.norm_eps),
      conv_out_(s / "conv_out", config.block_out_channels[0], config.out_channels, 3,
                Conv2dOptions::padded(1)) {
  const auto& channels = config_.block_out_channels;
  const auto levels = static_cast<std::int64_t>(channels.size());
  const std::int64_t temb = config_.temb_dim();

  if (config_.class_embed == ClassEmbed::table)
    class_table_.emplace(s / "class_embedding", config_.num_class_embeds, temb);
  if (config_.class_embed == ClassEmbed::timestep)
    class_timestep_.emplace(s / "class_embedding", channels[0], temb);

  auto resnet = [&](const Scope& scope, std::int64_t in, std::int64_t out,
                    double output_scale = 1) {
    return ResnetBlock(scope, {.in = in,
                               .out = out,
                               .temb = temb,
                               .groups = config_.norm_num_groups,
                               .eps = config_.norm_eps,
                               .dropout = config_.dropout,
                               .output_scale = output_scale,
                               .scale_shift = config_.scale_shift});
  };
  auto attention = [&](const Scope& scope, std::int64_t c, std::optional<std::int64_t> groups,
                       double output_scale = 1) {
    return AttentionBlock(scope, {.channels = c,
                                  .head_dim = config_.attention_head_dim.value_or(c),
                                  .norm_groups = groups,
                                  .eps = config_.norm_eps,
                                  .output_scale = output_scale});
  };

  std::vector<std::int64_t> skips{
      channels[0]};  // channels of each skip, in the order they are pushed
  std::int64_t c = channels[0];
  for (std::int64_t i = 0; i < levels; ++i) {
    const Scope b = s / "down_blocks" / i;
    Level& level = down_.emplace_back();
    for (std::int64_t j = 0; j < config_.layers_per_block; ++j) {
      level.resnets.push_back(resnet(b / "resnets" / j, c, channels[i]));
      c = channels[i];
      if (config_.down_attention[i])
        level.attentions.push_back(attention(b / "attentions" / j, c, config_.norm_num_groups));
      skips.push_back(c);
    }
    if (i + 1 < levels) {
      level.down.emplace(b / "downsamplers" / 0, c, config_.downsample_padding);
      skips.push_back(c);
    }
  }

  if (config_.mid_block) {
    const Scope b = s / "mid_block";
    mid_.emplace();
    mid_->resnets.push_back(resnet(b / "resnets" / 0, c, c, config_.mid_block_scale_factor));
    if (config_.add_attention) {
      // diffusers leaves the norm out when the time embedding scales and shifts, unless asked.
      std::optional<std::int64_t> groups = config_.attn_norm_num_groups;
      if (!groups && !config_.scale_shift) groups = config_.norm_num_groups;
      mid_->attentions.push_back(
          attention(b / "attentions" / 0, c, groups, config_.mid_block_scale_factor));
    }
    mid_->resnets.push_back(resnet(b / "resnets" / 1, c, c, config_.mid_block_scale_factor));
  }

  for (std::int64_t i = 0; i < levels; ++i) {
    const Scope b = s / "up_blocks" / i;
    Level& level = up_.emplace_back();
    const std::int64_t out = channels[levels - 1 - i];
    for (std::int64_t j = 0; j <= config_.layers_per_block; ++j) {
      level.resnets.push_back(resnet(b / "resnets" / j, c + skips.back(), out));
      skips.pop_back();
      c = out;
      if (config_.up_attention[i])
        level.attentions.push_back(attention(b / "attentions" / j, c, config_.norm_num_groups));
    }
    if (i + 1 < levels) level.up.emplace(b / "upsamplers" / 0, c);
  }
}

// temb = MLP(sin/cos features of t) + embedding of the class: [N, temb_dim]
Var UNet::time_embedding(const Tensor& t, const Tensor& labels, std::int64_t n, DType dtype) const {
  auto features = [&](const Tensor& values) {
    return Var(sinusoidal_embedding(values, config_.block_out_channels[0], config_.flip_sin_to_cos,
                                    config_.freq_shift, dtype));
  };
  expect_shape("unet", "timestep", t, {n});
  const Var temb = time_embedding_(features(t));
  if (config_.class_embed == ClassEmbed::none) {
    if (labels.defined())
      throw Error("unet", "class labels given, but the network is unconditional");
    return temb;
  }
  if (!labels.defined())
    throw Error("unet", "the network is class-conditional: class labels expected");
  if (class_table_) {
    expect_shape("unet", "class labels", labels, {n});
    return temb + (*class_table_)(labels);
  }
  if (class_timestep_) {
    expect_shape("unet", "class labels", labels, {n});
    return temb + (*class_timestep_)(features(labels));
  }
  expect_shape("unet", "class labels", labels, {n, config_.temb_dim()});
  return temb + Var(labels.to(dtype));
}

Var UNet::block(const Level& level, std::size_t i, const Var& h, const Var& skip, const Var& temb,
                const Mode& mode) const {
  const auto run = [&level, i, mode](std::span<const Var> in) {
    const Var y = level.resnets[i](in[0], in[1], mode, in[2]);
    return i < level.attentions.size() ? level.attentions[i](y) : y;
  };
  if (mode.recompute) return checkpoint(run, {h, temb, skip});
  return run(std::array{h, temb, skip});
}

Var UNet::operator()(const Var& x, const Tensor& t, const Tensor& labels, const Mode& mode) const {
  expect_rank("unet", "input", x.value(), 4);
  const std::int64_t n = x.dim(0), multiple = config_.size_multiple();
  if (x.dim(3) != config_.in_channels)
    throw Error("unet", fmt::format("input {} has {} channels, expected {}", x.shape().str(),
                                    x.dim(3), config_.in_channels));
  if (x.dim(1) < 1 || x.dim(2) < 1 || x.dim(1) % multiple != 0 || x.dim(2) % multiple != 0)
    throw Error("unet",
                fmt::format("image size {}x{} is not a multiple of {}, as {} levels need", x.dim(1),
                            x.dim(2), multiple, config_.block_out_channels.size()));

  const Var temb = time_embedding(t, labels, n, x.dtype());
  Var h = conv_in_(config_.center_input_sample ? x * 2.0 + -1.0 : x);
  std::vector<Var, memory::Allocator<Var>> skips{h};
  for (const Level& level : down_) {
    for (std::size_t i = 0; i < level.resnets.size(); ++i) {
      h = block(level, i, h, {}, temb, mode);
      skips.push_back(h);
    }
    if (level.down) {
      h = (*level.down)(h);  // [N, H/2, W/2, C]
      skips.push_back(h);
    }
  }
  if (mid_)
    for (std::size_t i = 0; i < mid_->resnets.size(); ++i) h = block(*mid_, i, h, {}, temb, mode);
  for (const Level& level : up_) {
    for (std::size_t i = 0; i < level.resnets.size(); ++i) {
      const Var skip = skips.back();
      skips.pop_back();
      h = block(level, i, h, skip, temb, mode);
    }
    if (level.up) h = (*level.up)(h);  // [N, 2H, 2W, C]
  }
  return conv_out_(h, {.norm = conv_norm_out_.with_silu()});
}

}  // namespace sfumato::nn
