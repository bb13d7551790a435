// The configuration of the diffusion transformer: the fields of a diffusers config.json of class
// `DiTTransformer2DModel`. What this library does not compute is refused by name, never ignored.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tensor/io/json.h"

namespace sfumato::nn {

// A field is a member, whose initial value is diffusers' default for a missing key, and an entry in the list of
// dit_config.cpp: its key and the values it may have.
struct DiTConfig {
  std::int64_t num_attention_heads = 16, attention_head_dim = 72;
  std::int64_t in_channels = 4;
  std::optional<std::int64_t> out_channels;  // none: in_channels
  std::int64_t num_layers = 28;
  double dropout = 0;
  std::int64_t sample_size =
      32;  // height and width of the pictures; positions count in patches of them
  std::int64_t patch_size = 2;
  bool gelu_approximate = true;  // activation_fn: GELU by tanh, or the exact one
  // Classes; the table of labels has one row more, for "no class". 0: an unconditional network, which uses that row.
  std::int64_t num_embeds_ada_norm = 1000;
  bool norm_elementwise_affine = false;  // of the norm before the feed-forward layers
  double norm_eps = 1e-5;                // of the same; the others have 1e-6
  std::int64_t norm_num_groups = 32;     // kept for the file; no effect
  bool upcast_attention = false;         // likewise: softmax is computed in f32 in any case
  bool operator==(const DiTConfig&) const = default;

  // Throws Error naming the field unless the network can be built.
  void check() const;
  std::int64_t width() const { return num_attention_heads * attention_head_dim; }
};

// A missing key has diffusers' default. Throws Error naming the file and the key for a value of the wrong type, and for
// an option that is not supported. A line naming the keys that the class does not have is added to `notes`.
DiTConfig parse_dit_config(const io::JsonObject& json, std::vector<std::string>* notes = nullptr);
io::Json to_json(const DiTConfig& config);

}  // namespace sfumato::nn
