// The U-Net of DDPM (Ho 2020, appendix B) as `diffusers` builds it (`UNet2DModel`): same blocks,
// same options, same parameter names, so that checkpoints go both ways.
//
//   x ── conv_in ─┬─ down 0 ─┬─ down 1 ─┬─ ... ── mid ── ... ─┬─ up 1 ─┬─ up 0 ── norm, SiLU, conv_out
//                 └──────────┴──────────┴──── skips ──────────┴────────┘
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/layers.h"

namespace sfumato::nn {

enum class ClassEmbed { none, table, timestep, identity };

// The fields of a diffusers `unet/config.json`; read and written by unet_config.h.
struct UNetConfig {
  // What it was made for, others work too. 0: the file does not say (sample_size: null).
  std::int64_t sample_height = 28, sample_width = 28;
  std::int64_t in_channels = 1, out_channels = 1;
  bool center_input_sample = false;  // x -> 2x - 1
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  std::optional<std::int64_t> time_embedding_dim;  // none: 4 * block_out_channels[0]
  std::vector<bool> down_attention, up_attention;  // AttnDownBlock2D / AttnUpBlock2D, outermost
                                                   // first for down, innermost first for up
  std::vector<std::int64_t> block_out_channels;
  std::int64_t layers_per_block = 2;
  bool mid_block = true;
  double mid_block_scale_factor = 1;
  bool add_attention = true;  // in the middle block
  std::int64_t downsample_padding = 1;
  double dropout = 0;
  std::optional<std::int64_t> attention_head_dim = 8;  // none: one head
  std::int64_t norm_num_groups = 32;
  std::optional<std::int64_t> attn_norm_num_groups;  // of the middle block's attention
  double norm_eps = 1e-5;
  bool scale_shift = false;  // resnet_time_scale_shift == "scale_shift"
  ClassEmbed class_embed = ClassEmbed::none;
  std::int64_t num_class_embeds = 0;                // rows of the table
  std::optional<std::int64_t> num_train_timesteps;  // kept for the file; no effect

  // Throws Error naming the field unless the network can be built.
  void check() const;
  std::int64_t temb_dim() const {
    return time_embedding_dim.value_or(4 * block_out_channels.at(0));
  }
  // Height and width must be multiples of this.
  std::int64_t size_multiple() const { return std::int64_t{1} << (block_out_channels.size() - 1); }
};

class UNet {
 public:
  UNet(const Scope& scope, const UNetConfig& config);

  // x [N,H,W,in]; t [N], i64 or floating; labels as the class embedding wants them: i64 [N] for the
  // table, [N] numbers for `timestep`, [N, temb_dim] for `identity`, undefined for none.
  // -> [N,H,W,out]
  Var operator()(const Var& x, const Tensor& t, const Tensor& labels = {},
                 const Mode& mode = {}) const;

  const UNetConfig& config() const { return config_; }

 private:
  struct Level {  // of either side: residual blocks, each followed by attention if the level has it
    std::vector<ResnetBlock> resnets;
    std::vector<AttentionBlock> attentions;
    std::optional<Downsample> down;
    std::optional<Upsample> up;
  };

  Var time_embedding(const Tensor& t, const Tensor& labels, std::int64_t n, DType dtype) const;
  // Residual block i of a level and its attention, of h beside `skip` if there is one.
  Var block(const Level& level, std::size_t i, const Var& h, const Var& skip, const Var& temb,
            const Mode& mode) const;

  UNetConfig config_;
  Conv2d conv_in_;
  TimestepEmbedding time_embedding_;
  std::optional<Embedding> class_table_;
  std::optional<TimestepEmbedding> class_timestep_;
  std::vector<Level> down_;
  std::optional<Level> mid_;  // resnet, attention, resnet
  std::vector<Level> up_;
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
};

}  // namespace sfumato::nn
