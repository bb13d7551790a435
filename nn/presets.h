// Networks by name: what `train --model` takes besides a config.json.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "nn/dit_config.h"
#include "nn/network.h"
#include "nn/unet_config.h"

namespace sfumato::nn {

bool is_preset(std::string_view name);
std::string preset_names();  // "tiny, small, base, dit-tiny, ..."

// The U-Net for pictures of `channels` channels. class_rows: the rows of its class table, one of
// them for "no class" where labels are to be hidden; 0 for an unconditional network. Throws Error
// for a name that is none of a U-Net.
UNetConfig preset(std::string_view name, std::int64_t channels, std::int64_t class_rows = 0);

// The diffusion transformer for pictures of size x size pixels. classes: 0 for an unconditional network; otherwise its
// table has a row more, for "no class". Throws Error for a name that is none of a transformer.
DiTConfig dit_preset(std::string_view name, std::int64_t channels, std::int64_t size,
                     std::int64_t classes = 0);

// What a preset is built for.
struct PresetFor {
  std::int64_t channels, size;    // of the pictures, as high as `size`
  std::int64_t classes = 0;       // of the data
  bool hides_labels = false;      // a U-Net gets a row for "no class"
  bool learned_variance = false;  // twice the channels come out
  bool self_condition = false;    // an estimate goes in, beside the picture (self_conditioned.h)
  std::optional<double> dropout = {};
};
// Any preset. Throws Error for a name that is none.
BuildNetwork build_preset(std::string_view name, const PresetFor& data);

}  // namespace sfumato::nn
