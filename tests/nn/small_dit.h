// The smallest diffusion transformer, of 8 x 8 grey pictures in 3 classes.
#pragma once
#include "nn/dit_config.h"

namespace sfumato::nn {

inline DiTConfig small_dit() {
  DiTConfig c;
  c.num_attention_heads = 2;
  c.attention_head_dim = 4;
  c.in_channels = 1;
  c.num_layers = 2;
  c.sample_size = 8;
  c.num_embeds_ada_norm = 3;
  return c;
}

}  // namespace sfumato::nn
