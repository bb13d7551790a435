#include "nn/unet.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "autograd/checkpoint.h"

namespace sfumato::nn {

UNet::UNet(const Scope& s, const UNetConfig& config)
    : config_((config.check(), config)),
      conv_in_(s / "conv_in", config.in_channels, config.block_out_channels[0], 3,
               Conv2dOptions::padded(1)),
      time_embedding_(s.exact() / "time_embedding", config.block_out_channels[0],
                      config.temb_dim()),
      conv_norm_out_(s / "conv_norm_out", config.block_out_channels[0], config.norm_num_groups,
                     config.norm_eps),
      conv_out_(s / "conv_out", config.block_out_channels[0], config.out_channels, 3,
                Conv2dOptions::padded(1)) {
  in_channels = config.in_channels;
  out_channels = config.out_channels;
  size_multiple = config.size_multiple();
  conditioning = config.conditioning;
  conditioning.width = config.temb_dim();
  if (conditioning.kind == Conditioning::Kind::table)
    class_table_.emplace(s.exact() / "class_embedding", conditioning.rows, config.temb_dim());
  if (conditioning.kind == Conditioning::Kind::timestep)
    class_timestep_.emplace(s.exact() / "class_embedding", config.block_out_channels[0],
                            config.temb_dim());
  std::vector<std::int64_t> skips{config.block_out_channels[0]};
  add_down(s, skips);
  add_middle(s);
  add_up(s, skips);
  time_projections_ = time_projections(s);
}

ResnetBlock UNet::resnet(const Scope& scope, std::int64_t in, std::int64_t out,
                         double output_scale) const {
  return ResnetBlock(scope, {.in = in,
                             .out = out,
                             .temb = config_.temb_dim(),
                             .groups = config_.norm_num_groups,
                             .eps = config_.norm_eps,
                             .dropout = config_.dropout,
                             .output_scale = output_scale,
                             .scale_shift = config_.scale_shift});
}

AttentionBlock UNet::attention(const Scope& scope, std::int64_t channels,
                               std::optional<std::int64_t> groups, double output_scale) const {
  return AttentionBlock(scope, {.channels = channels,
                                .head_dim = config_.attention_head_dim.value_or(channels),
                                .norm_groups = groups,
                                .eps = config_.norm_eps,
                                .output_scale = output_scale});
}

void UNet::add_down(const Scope& s, std::vector<std::int64_t>& skips) {
  const std::size_t levels = config_.block_out_channels.size();
  for (std::size_t i = 0; i < levels; ++i) {
    const Scope b = s / "down_blocks" / static_cast<std::int64_t>(i);
    const std::int64_t out = config_.block_out_channels[i];
    Level& level = down_.emplace_back();
    for (std::int64_t j = 0; j < config_.layers_per_block; ++j) {
      level.resnets.push_back(resnet(b / "resnets" / j, skips.back(), out));
      if (config_.down_attention[i])
        level.attentions.push_back(attention(b / "attentions" / j, out, config_.norm_num_groups));
      skips.push_back(out);
    }
    if (i + 1 == levels) break;
    level.down.emplace(b / "downsamplers" / 0, out, config_.downsample_padding);
    skips.push_back(out);
  }
}

void UNet::add_middle(const Scope& s) {
  if (!config_.mid_block) return;
  const Scope b = s / "mid_block";
  const std::int64_t c = config_.block_out_channels.back();
  const double scale = config_.mid_block_scale_factor;
  mid_.emplace();
  mid_->resnets.push_back(resnet(b / "resnets" / 0, c, c, scale));
  if (config_.add_attention) {
    // diffusers leaves the norm out when the time embedding scales and shifts, unless asked.
    std::optional<std::int64_t> groups = config_.attn_norm_num_groups;
    if (!groups && !config_.scale_shift) groups = config_.norm_num_groups;
    mid_->attentions.push_back(attention(b / "attentions" / 0, c, groups, scale));
  }
  mid_->resnets.push_back(resnet(b / "resnets" / 1, c, c, scale));
}

void UNet::add_up(const Scope& s, std::vector<std::int64_t> skips) {
  const std::size_t levels = config_.block_out_channels.size();
  std::int64_t in = config_.block_out_channels.back();
  for (std::size_t i = 0; i < levels; ++i) {
    const Scope b = s / "up_blocks" / static_cast<std::int64_t>(i);
    const std::int64_t out = config_.block_out_channels[levels - 1 - i];
    Level& level = up_.emplace_back();
    for (std::int64_t j = 0; j <= config_.layers_per_block; ++j) {
      level.resnets.push_back(resnet(b / "resnets" / j, in + skips.back(), out));
      skips.pop_back();
      in = out;
      if (config_.up_attention[i])
        level.attentions.push_back(attention(b / "attentions" / j, out, config_.norm_num_groups));
    }
    if (i + 1 < levels) level.up.emplace(b / "upsamplers" / 0, out);
  }
}

JoinedLinear UNet::time_projections(const Scope& s) const {
  std::vector<const Linear*> of_blocks;
  const auto add = [&of_blocks](const Level& level) {
    for (const ResnetBlock& block : level.resnets) of_blocks.push_back(&block.time_emb_proj);
  };
  std::for_each(down_.begin(), down_.end(), add);
  if (mid_) add(*mid_);
  std::for_each(up_.begin(), up_.end(), add);
  return {s, of_blocks};
}

io::Json UNet::config() const { return to_json(config_); }

std::unique_ptr<Network> UNet::with_rows(const Scope& scope, std::int64_t rows) const {
  UNetConfig larger = config_;
  larger.conditioning.rows = rows;
  return std::make_unique<UNet>(scope, larger);
}

// temb = MLP(sin/cos features of t) + embedding of the class: [N, temb_dim]
Var UNet::time_embedding(const Tensor& t, const Tensor& labels, std::int64_t n, DType dtype) const {
  auto features = [&](const Tensor& values) {
    return Var(sinusoidal_embedding(values, config_.block_out_channels[0], config_.flip_sin_to_cos,
                                    config_.freq_shift, dtype));
  };
  expect_shape("unet", "timestep", t, {n});
  conditioning.check(labels, n);
  Var temb = time_embedding_(features(t));
  if (class_table_) return temb + (*class_table_)(labels);
  if (class_timestep_) return temb + (*class_timestep_)(features(labels));
  if (labels.defined()) return temb + Var(labels.to(dtype));  // Kind::identity
  return temb;
}

Var UNet::block(const Level& level, std::size_t i, const Var& h, const Var& skip, const Var& t,
                const Mode& mode) const {
  const auto run = [&level, i, mode](std::span<const Var> in) {
    const Var y = level.resnets[i](in[0], in[1], mode, in[2]);
    return i < level.attentions.size() ? level.attentions[i](y) : y;
  };
  if (mode.recompute) return checkpoint(run, {h, t, skip});
  return run(std::array{h, t, skip});
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

  const Vars told =  // each residual block
      (*time_projections_)(time_embedding(t, labels, n, x.dtype()), {.silu = true});
  auto next = told.begin();
  const DType inside = conv_in_.weight.var().dtype();  // bf16, if the filters are used so
  Var h = conv_in_(cast(config_.center_input_sample ? x * 2.0 + -1.0 : x, inside));
  Vars skips{h};
  for (const Level& level : down_) {
    for (std::size_t i = 0; i < level.resnets.size(); ++i) {
      h = block(level, i, h, {}, *next++, mode);
      skips.push_back(h);
    }
    if (level.down) {
      h = (*level.down)(h);  // [N, H/2, W/2, C]
      skips.push_back(h);
    }
  }
  if (mid_)
    for (std::size_t i = 0; i < mid_->resnets.size(); ++i)
      h = block(*mid_, i, h, {}, *next++, mode);
  for (const Level& level : up_) {
    for (std::size_t i = 0; i < level.resnets.size(); ++i) {
      const Var skip = skips.back();
      skips.pop_back();
      h = block(level, i, h, skip, *next++, mode);
    }
    if (level.up) h = (*level.up)(h);  // [N, 2H, 2W, C]
  }
  return cast(conv_out_(h, {.norm = conv_norm_out_.with_silu()}), x.dtype());
}

BuildNetwork read_unet(const io::JsonObject& config, std::vector<std::string>* notes) {
  return [parsed = parse_unet_config(config, notes)](const Scope& scope) {
    return std::make_unique<UNet>(scope, parsed);
  };
}

}  // namespace sfumato::nn
