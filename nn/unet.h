// The U-Net of DDPM (Ho 2020, appendix B) as `diffusers` builds it (`UNet2DModel`): same blocks,
// same options, same parameter names, so that checkpoints go both ways.
//
//   x ── conv_in ─┬─ down 0 ─┬─ down 1 ─┬─ ... ── mid ── ... ─┬─ up 1 ─┬─ up 0 ── norm, SiLU, conv_out
//                 └──────────┴──────────┴──── skips ──────────┴────────┘
#pragma once
#include <optional>
#include <vector>

#include "nn/layers.h"
#include "nn/network.h"
#include "nn/unet_config.h"

namespace sfumato::nn {

class UNet : public Network {
 public:
  // Throws Error unless config.check() passes.
  UNet(const Scope& scope, const UNetConfig& config);

  Var operator()(const Var& x, const Tensor& t, const Tensor& labels = {},
                 const Mode& mode = {}) const override;
  io::Json config() const override;
  std::unique_ptr<Network> with_rows(const Scope& scope, std::int64_t rows) const override;

 private:
  struct Level {  // of either side: residual blocks, each followed by attention if the level has it
    std::vector<ResnetBlock> resnets;
    std::vector<AttentionBlock> attentions;
    std::optional<Downsample> down;
    std::optional<Upsample> up;
  };

  ResnetBlock resnet(const Scope& scope, std::int64_t in, std::int64_t out,
                     double output_scale = 1) const;
  AttentionBlock attention(const Scope& scope, std::int64_t channels,
                           std::optional<std::int64_t> groups, double output_scale = 1) const;
  // `skips`: the channels of each skip, in the order in which the way down pushes them.
  void add_down(const Scope& scope, std::vector<std::int64_t>& skips);
  void add_middle(const Scope& scope);
  void add_up(const Scope& scope, std::vector<std::int64_t> skips);

  JoinedLinear time_projections(const Scope& scope) const;
  Var time_embedding(const Tensor& t, const Tensor& labels, std::int64_t n, DType dtype) const;
  // Residual block i of a level and its attention, of h and `skip` if there is one.
  Var block(const Level& level, std::size_t i, const Var& h, const Var& skip, const Var& t,
            const Mode& mode) const;

  UNetConfig config_;
  Conv2d conv_in_;
  TimestepEmbedding time_embedding_;
  std::optional<Embedding> class_table_;
  std::optional<TimestepEmbedding> class_timestep_;
  std::vector<Level> down_;
  std::optional<Level> mid_;  // resnet, attention, resnet
  std::vector<Level> up_;
  std::optional<JoinedLinear> time_projections_;  // of the residual blocks, in their order
  GroupNorm conv_norm_out_;
  Conv2d conv_out_;
};

// The network of a `unet/config.json`, for the table of network.cpp.
BuildNetwork read_unet(const io::JsonObject& config, std::vector<std::string>* notes);

}  // namespace sfumato::nn
