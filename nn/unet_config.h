// The configuration of the U-Net: the fields of a diffusers `unet/config.json`. What this library does not compute
// is refused by name, never ignored.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/conditioning.h"
#include "tensor/io/json.h"

namespace sfumato::nn {

// What files written here give as `_diffusers_version`: their layout is that version's.
inline constexpr const char* kDiffusersVersion = "0.30.0";

// A field is a member, whose initial value is diffusers' default for a missing key, and an entry in the list of
// unet_config.cpp: its key and the values it may have.
struct UNetConfig {
  std::int64_t in_channels = 3, out_channels = 3;
  bool center_input_sample = false;  // x -> 2x - 1
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  std::optional<std::int64_t> time_embedding_dim;  // none: 4 * block_out_channels[0]
  // AttnDownBlock2D / AttnUpBlock2D: outermost first for down, innermost first for up.
  std::vector<bool> down_attention = {false, true, true, true},
                    up_attention = {true, true, true, false};
  std::vector<std::int64_t> block_out_channels = {224, 448, 672, 896};
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
  Conditioning
      conditioning;  // null_label is in no config.json: a pipeline keeps it with the weights
  std::optional<std::int64_t> num_train_timesteps;  // kept for the file; no effect
  bool operator==(const UNetConfig&) const = default;

  // Throws Error naming the field unless the network can be built.
  void check() const;
  std::int64_t temb_dim() const {
    return time_embedding_dim.value_or(4 * block_out_channels.at(0));
  }
  // Height and width must be multiples of this.
  std::int64_t size_multiple() const { return std::int64_t{1} << (block_out_channels.size() - 1); }
};

// A missing key has diffusers' default. Throws Error naming the file and the class, or the key, for another class,
// a value of the wrong type, and an option that is not supported. A key that UNet2DModel has not is without effect
// in diffusers and here; a line naming all of them is added to `notes`. `sample_size` is read past: it is the
// pictures' (diffusion/pipeline.h).
UNetConfig parse_unet_config(const io::JsonObject& json, std::vector<std::string>* notes = nullptr);
io::Json to_json(const UNetConfig& config);
// Whether a config without a class has a key of UNet2DModel: the first releases of diffusers wrote no class.
bool looks_like_unet_config(const io::JsonObject& json);

}  // namespace sfumato::nn
