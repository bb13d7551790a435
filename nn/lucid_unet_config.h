// The configuration of the U-Net of lucidrains' `denoising-diffusion-pytorch`: the arguments of its class `Unet`, under their
// names, and which release of the package it is of. What this library does not compute is refused by name.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/io/json.h"

namespace sfumato::nn {

// What the releases of the package differ in.
struct LucidVersion {
  std::string_view name;    // the first release that is so
  bool block_rms_norm;      // a block's norm is RMSNorm, else GroupNorm
  bool memory;              // attention has learned keys and values besides those of the pixels
  bool attention_rms_norm;  // attention's norms are RMSNorm, else LayerNorm
  bool standardizes;        // filters of blocks are standardised as they are used (Qiao 2019)
  bool wraps_attention;     // its parameters are called "fn.norm.g", "fn.fn.to_qkv", ...
  bool averages_values;     // linear attention divides the values by the number of pixels
  bool operator==(const LucidVersion& other) const { return name == other.name; }
};
// Newest first.
std::span<const LucidVersion> lucid_versions();
std::string lucid_version_names();  // "2.0, 1.9, ..."
// Null when there is none of that name.
const LucidVersion* find_lucid_version(std::string_view name);

// A field is a member, whose initial value is the class's default for a missing key, and an entry in the list of
// lucid_unet_config.cpp.
struct LucidUnetConfig {
  std::int64_t dim = 64;
  std::optional<std::int64_t> init_dim,
      out_dim;  // none: dim; channels, twice with learned_variance
  std::vector<std::int64_t> dim_mults = {1, 2, 4, 8};
  std::int64_t channels = 3;
  bool learned_variance = false;
  double dropout = 0;
  // Of each level, outermost first, or one number for all.
  std::vector<std::int64_t> attn_dim_head = {32}, attn_heads = {4};
  std::vector<std::int64_t> full_attn = {};  // 0 or 1; empty: the innermost level alone
  std::int64_t resnet_block_groups = 8;      // before version 2
  std::int64_t num_mem_kv = 4;  // since version 1.9; the class does not let one choose it
  LucidVersion version = lucid_versions().front();
  bool operator==(const LucidUnetConfig&) const = default;

  // Throws Error naming the field unless the network can be built.
  void check() const;
  std::size_t levels() const { return dim_mults.size(); }
  std::int64_t first_dim() const { return init_dim.value_or(dim); }
  // What comes into a level and goes out of it, on the way down.
  std::int64_t dim_in(std::size_t level) const {
    return level == 0 ? first_dim() : dim * dim_mults[level - 1];
  }
  std::int64_t dim_out(std::size_t level) const { return dim * dim_mults[level]; }
  std::int64_t out_channels() const {
    return out_dim.value_or(learned_variance ? 2 * channels : channels);
  }
  std::int64_t heads(std::size_t level) const {
    return attn_heads[attn_heads.size() == 1 ? 0 : level];
  }
  std::int64_t head_dim(std::size_t level) const {
    return attn_dim_head[attn_dim_head.size() == 1 ? 0 : level];
  }
  bool full(std::size_t level) const {
    if (full_attn.empty()) return level + 1 == levels();
    return full_attn[full_attn.size() == 1 ? 0 : level] != 0;
  }
};

// A missing key has the class's default. Throws Error naming the file and the key for a value of the wrong type, and for
// an option that is not supported. A line naming the keys that the class does not have is added to `notes`.
LucidUnetConfig parse_lucid_unet_config(const io::JsonObject& json,
                                        std::vector<std::string>* notes = nullptr);
io::Json to_json(const LucidUnetConfig& config);

}  // namespace sfumato::nn
