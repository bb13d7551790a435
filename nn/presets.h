// U-Nets by name: what `train --model` takes besides a config.json.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "nn/unet_config.h"

namespace sfumato::nn {

bool is_preset(std::string_view name);
std::string preset_names();  // "tiny, small, base"

// The preset for pictures of `channels` channels. class_rows: the rows of its class table, one of
// them for "no class" where labels are to be hidden; 0 for an unconditional network. Throws Error
// for a name that is no preset.
UNetConfig preset(std::string_view name, std::int64_t channels, std::int64_t class_rows = 0);

}  // namespace sfumato::nn
