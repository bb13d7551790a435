// The diffusion transformer (Peebles and Xie 2022, "Scalable diffusion models with transformers") as `diffusers` builds it
// (`DiTTransformer2DModel`): same blocks, same options, same parameter names, so that checkpoints go both ways.
//
//   x ── patches of p x p pixels, a token each ── + position ── block 1 ── ... ── block L ── norm, linear ── pixels
//
// Each block is told t and the label by adaLN-Zero: a linear layer makes of them, for every channel, the scale, the shift
// and the gate of the block's two parts. Gates begin at 0, so a new network is the identity (section 3.2).
#pragma once
#include <optional>
#include <vector>

#include "nn/dit_config.h"
#include "nn/layers.h"
#include "nn/network.h"

namespace sfumato::nn {

class DiT : public Network {
 public:
  // Throws Error unless config.check() passes.
  DiT(const Scope& scope, const DiTConfig& config);

  // Pictures are as high as they are wide (the class in diffusers knows no others). Those of another size than sample_size have the same positions spread over
  // them.
  Var operator()(const Var& x, const Tensor& t, const Tensor& labels = {},
                 const Mode& mode = {}) const override;
  io::Json config() const override;

 private:
  // What a block is told: c = MLP(sin/cos features of t) + embedding of the label: [N, width].
  struct Condition {
    TimestepEmbedding time;
    Embedding label;
    Condition(const Scope& s, std::int64_t width, std::int64_t rows);
    Var operator()(const Tensor& features, const Tensor& labels) const {
      return time(Var(features)) + label(labels);
    }
  };

  // h [N,T,width] -> [N,T,width]
  struct Block {
    Condition condition;
    Linear
        modulation;  // c -> shift, scale, gate of the attention; shift, scale, gate of the feed-forward layers
    Linear to_q, to_k, to_v, to_out;
    JoinedLinear to_qkv;
    LayerNorm norm_attention, norm_feed;
    Linear feed_in, feed_out;
    Dropout dropout_attention, dropout_feed;
    std::int64_t heads;
    bool gelu_approximate;
    Block(const Scope& s, const DiTConfig& config);
    Var operator()(const Var& h, const Tensor& features, const Tensor& labels,
                   const Mode& mode) const;
    Var attend(const Var& h) const;
    Var feed(const Var& h, const Mode& mode) const;
  };

  void expect_input(const Var& x, const Tensor& t) const;
  Var patchify(const Var& x) const;                          // -> [N, T, width], with positions
  Var unpatchify(const Var& tokens, const Var& like) const;  // -> [N,H,W,out_channels]

  std::int64_t patches_a_side() const { return sample_size.height / config_.patch_size; }

  DiTConfig config_;
  Param patch_weight_, patch_bias_;  // [width, in, p, p], [width]
  std::vector<Block> blocks_;
  LayerNorm norm_out_;
  Linear proj_out_1_, proj_out_2_;
};

// The network of a `transformer/config.json`, for the table of network.cpp.
BuildNetwork read_dit(const io::JsonObject& config, std::vector<std::string>* notes);

}  // namespace sfumato::nn
