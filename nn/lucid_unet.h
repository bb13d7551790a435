// The U-Net of lucidrains' package `denoising-diffusion-pytorch` (class `Unet`): same blocks, same options, same parameter
// names, so that its checkpoints go both ways. Unlike diffusers' it has linear attention (Shen 2018, "Efficient attention")
// on all levels but the innermost, normalises after its convolutions, and halves a picture by moving 2x2 pixels into
// channels.
//
//   x ── init_conv ─┬─ down 0 ── down 1 ── ... ── mid ── ... ── up 0 ── up 1 ─┬─ final block, conv
//                   └─────────────────── first features ──────────────────────┘
#pragma once
#include <optional>
#include <vector>

#include "nn/classic_layers.h"
#include "nn/layers.h"
#include "nn/lucid_unet_config.h"
#include "nn/network.h"

namespace sfumato::nn {

class LucidUnet : public Network {
 public:
  // Throws Error unless config.check() passes.
  LucidUnet(const Scope& scope, const LucidUnetConfig& config);

  Var operator()(const Var& x, const Tensor& t, const Tensor& labels = {},
                 const Mode& mode = {}) const override;
  io::Json config() const override;

 private:
  // Over the channels of each pixel, then γ, kept as [1,C,1,1]: RMSNorm, or LayerNorm without β.
  struct ChannelNorm {
    Param g;
    RMSNorm unit;
    bool rms;
    ChannelNorm(const Scope& s, std::int64_t channels, bool rms);
    Var operator()(const Var& x) const;
  };

  // Convolution, norm, scale and shift, SiLU.
  struct Block {
    Conv2d proj;
    std::optional<GroupNorm> group_norm;
    std::optional<ChannelNorm> rms_norm;
    bool standardizes;
    Block(const Scope& s, std::int64_t in, std::int64_t out, const LucidUnetConfig& config);
    // told [N, 2 out], the scale and the shift of each channel, or undefined
    Var operator()(const Var& x, const Var& skip, const Var& told) const;
    Var weight() const;
  };

  // x [N,H,W,in], temb [N,T] -> [N,H,W,out]. `skip`: more channels of the input, after those of x.
  struct Resnet {
    Linear mlp;
    Block block1, block2;
    Dropout dropout;
    std::optional<Conv2d> res_conv;  // 1x1, where in != out
    Resnet(const Scope& s, std::int64_t in, std::int64_t out, const LucidUnetConfig& config);
    Var operator()(const Var& x, const Var& temb, const Mode& mode, const Var& skip) const;
  };

  // x + attention over the pixels of norm(x): [N,H,W,C] -> [N,H,W,C]
  struct Attention {
    struct Options {
      std::int64_t channels, heads, head_dim;
      bool full;  // softmax(q kᵀ / √d) v, else softmax(q) (softmax(k)ᵀ v) / √d
    };
    Options options;
    LucidVersion version;
    ChannelNorm norm;
    Param to_qkv;  // [3 heads d, C, 1, 1]
    std::optional<Param>
        memory;  // keys and values that every picture has; [2, heads, M, d], or of linear attention
                 // [2, heads, d, M]
    Conv2d to_out;
    std::optional<ChannelNorm> norm_out;  // of linear attention
    Attention(const Scope& s, const Options& options, const LucidVersion& version);
    Var operator()(const Var& x) const;
    Var dense_attention(const Var& qkv) const;   // [N,T,3 heads d] -> [N,T,heads d]
    Var linear_attention(const Var& qkv) const;  // likewise
    Var remembered(std::int64_t which, std::int64_t n, DType dtype) const;
  };

  struct Level {
    Resnet block1, block2;
    Attention attention;
    Conv2d resample;
  };

  void add_levels(const Scope& s);
  Attention attention(const Scope& s, std::int64_t channels, std::size_t level, bool full) const;
  // A block, then attention if there is one.
  static Var unit(const Resnet& block, const Attention* attention, const Var& h, const Var& skip,
                  const Var& temb, const Mode& mode);

  LucidUnetConfig config_;
  Conv2d init_conv_;
  Linear time_1_, time_3_;
  std::vector<Level> downs_, ups_;  // in the order in which they run
  Resnet mid_block1_;
  Attention mid_attn_;
  Resnet mid_block2_, final_res_block_;
  Conv2d final_conv_;
};

// The network of a config.json, for the table of network.cpp.
BuildNetwork read_lucid_unet(const io::JsonObject& config, std::vector<std::string>* notes);

}  // namespace sfumato::nn
