// UNetConfig <-> the `unet/config.json` of diffusers. What this library does not compute is refused
// by name, never ignored.
#pragma once
#include <string>

#include "nn/unet.h"
#include "tensor/io/json.h"

namespace sfumato::nn {

// What files written here give as `_diffusers_version`: their layout is that version's.
inline constexpr const char* kDiffusersVersion = "0.30.0";

// A missing key has diffusers' default. Throws Error naming the file and the key for an unknown
// key, a value of the wrong type, and an option that is not supported.
UNetConfig parse_unet_config(const io::JsonObject& json);
io::Json to_json(const UNetConfig& config);

}  // namespace sfumato::nn
