// UNetConfig <-> the `unet/config.json` of diffusers. What this library does not compute is refused
// by name, never ignored.
#pragma once
#include <string>
#include <vector>

#include "nn/unet.h"
#include "tensor/io/json.h"

namespace sfumato::nn {

// What files written here give as `_diffusers_version`: their layout is that version's.
inline constexpr const char* kDiffusersVersion = "0.30.0";

// Throws Error naming the class unless the config is that of a UNet2DModel. `part_of` ends the
// message: " of a StableDiffusionPipeline".
void expect_unet_class(const io::JsonObject& json, const std::string& part_of = "");

// A missing key has diffusers' default; null as sample_size gives 0 x 0. Throws Error naming the
// file and the class, or the key, for another class, a value of the wrong type, and an option that
// is not supported. A key that UNet2DModel has not is without effect in diffusers and here; a line
// naming all of them is added to `notes`.
UNetConfig parse_unet_config(const io::JsonObject& json, std::vector<std::string>* notes = nullptr);
io::Json to_json(const UNetConfig& config);

}  // namespace sfumato::nn
