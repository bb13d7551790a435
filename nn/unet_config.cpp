#include "nn/unet_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

namespace sfumato::nn {
namespace {

// Every key of UNet2DModel's config; any other is without effect.
constexpr std::array kKeys = {"act_fn",
                              "add_attention",
                              "attention_head_dim",
                              "attn_norm_num_groups",
                              "block_out_channels",
                              "center_input_sample",
                              "class_embed_type",
                              "down_block_types",
                              "downsample_padding",
                              "downsample_type",
                              "dropout",
                              "flip_sin_to_cos",
                              "freq_shift",
                              "in_channels",
                              "layers_per_block",
                              "mid_block_scale_factor",
                              "mid_block_type",
                              "norm_eps",
                              "norm_num_groups",
                              "num_class_embeds",
                              "num_train_timesteps",
                              "out_channels",
                              "resnet_time_scale_shift",
                              "sample_size",
                              "time_embedding_dim",
                              "time_embedding_type",
                              "up_block_types",
                              "upsample_type"};

// Keys that diffusers 0.2 renamed, and their names since: those had an effect.
constexpr std::pair<const char*, const char*> kRenamed[] = {
    {"image_size", "sample_size"},
    {"num_res_blocks", "layers_per_block"},
    {"block_channels", "block_out_channels"},
    {"down_blocks", "down_block_types"},
    {"up_blocks", "up_block_types"},
    {"downscale_freq_shift", "freq_shift"},
    {"resnet_num_groups", "norm_num_groups"},
    {"resnet_act_fn", "act_fn"},
    {"resnet_eps", "norm_eps"},
    {"num_head_channels", "attention_head_dim"}};

bool is_key(const std::string& key) {
  return std::find(kKeys.begin(), kKeys.end(), key) != kKeys.end();
}

void read_past_foreign_keys(const io::JsonObject& json, std::vector<std::string>* notes) {
  for (const auto& [before, now] : kRenamed)
    if (json.contains(before) && !json.json().contains(now))
      throw Error(json.source(),
                  fmt::format("\"{}\" is the name that \"{}\" had before diffusers 0.2; expected a "
                              "config of a later release",
                              before, now));
  std::vector<std::string> foreign;
  for (const auto& [key, value] : json.json().items())
    if (!key.starts_with("_") && !is_key(key)) foreign.push_back(key);
  if (notes && !foreign.empty())
    notes->push_back(fmt::format("{}: read past {}, which UNet2DModel does not have", json.source(),
                                 io::in_quotes(foreign)));
}

void read_sample_size(const io::JsonObject& json, UNetConfig& c) {
  c.sample_height = c.sample_width = 0;
  if (!json.contains("sample_size")) return;
  const io::Json& size = json.json().at("sample_size");
  const auto hw = size.is_array() ? json.get_ints("sample_size")
                                  : std::vector<std::int64_t>(2, json.get_int("sample_size"));
  if (hw.size() != 2 || std::min(hw[0], hw[1]) < 1 || std::max(hw[0], hw[1]) > 1 << 16)
    throw Error(json.source(),
                fmt::format("sample_size: expected a size in 1..65536 or a pair, got {}",
                            size.is_array() && size.size() > 4 ? "a longer list" : size.dump()));
  c.sample_height = hw[0];
  c.sample_width = hw[1];
}

[[noreturn]] void refuse(const io::JsonObject& json, const char* key, const std::string& came,
                         const char* supported) {
  throw Error(json.source(), fmt::format("{}: {} is not supported (supported: {})", key,
                                         io::in_quotes(came), supported));
}

void expect_one(const io::JsonObject& json, const char* key, const char* only) {
  const std::string value = json.get_string(key, only);
  if (value != only) refuse(json, key, value, only);
}

// true where the block has attention.
std::vector<bool> attention_flags(const io::JsonObject& json, const char* key, const char* plain,
                                  const char* with_attention, std::vector<std::string> fallback) {
  std::vector<bool> flags;
  for (std::string type : json.get_strings(key, std::move(fallback))) {
    // The name of the first releases: UNetResDownBlock2D.
    if (type.starts_with("UNetRes")) type.erase(0, 7);
    if (type != plain && type != with_attention)
      refuse(json, key, type, fmt::format("{}, {}", plain, with_attention).c_str());
    flags.push_back(type == with_attention);
  }
  return flags;
}

// The value of `key`; nothing for null; `missing` when there is no such key.
std::optional<std::int64_t> optional_int(const io::JsonObject& json, const char* key,
                                         std::optional<std::int64_t> missing) {
  if (!json.json().contains(key)) return missing;
  if (!json.contains(key)) return std::nullopt;
  return json.get_int(key);
}

void read_class_embed(const io::JsonObject& json, UNetConfig& c) {
  const std::string embed = json.get_string("class_embed_type", "");
  if (embed == "timestep") {
    c.class_embed = ClassEmbed::timestep;
  } else if (embed == "identity") {
    c.class_embed = ClassEmbed::identity;
  } else if (!embed.empty()) {
    refuse(json, "class_embed_type", embed, "null, timestep, identity");
  } else if (const auto classes = optional_int(json, "num_class_embeds", std::nullopt)) {
    c.class_embed = ClassEmbed::table;
    c.num_class_embeds = *classes;
  }
}

template <class T>
io::Json or_null(const std::optional<T>& value) {
  return value ? io::Json(*value) : io::Json(nullptr);
}

}  // namespace

void expect_unet_class(const io::JsonObject& json, const std::string& part_of) {
  const std::string reads = "; sfumato reads UNet2DModel";
  if (json.contains("_class_name")) {
    const std::string name = json.get_string("_class_name");
    if (name != "UNet2DModel")
      throw Error(json.source(), fmt::format("this is the config of a {}{}{}", io::in_quotes(name),
                                             part_of, reads));
    return;
  }
  // The first releases wrote no class; a config of something else shares no key.
  for (const auto& [key, value] : json.json().items())
    if (!key.starts_with("_") && is_key(key) && key != "dropout") return;
  throw Error(json.source(),
              fmt::format("this is not the config of a UNet2DModel: it names no class{}, and has "
                          "none of its keys",
                          part_of));
}

UNetConfig parse_unet_config(const io::JsonObject& json, std::vector<std::string>* notes) {
  expect_unet_class(json);
  expect_one(json, "time_embedding_type", "positional");
  expect_one(json, "downsample_type", "conv");
  expect_one(json, "upsample_type", "conv");
  const std::string act = json.get_string("act_fn", "silu");
  if (act != "silu" && act != "swish") refuse(json, "act_fn", act, "silu");
  read_past_foreign_keys(json, notes);

  UNetConfig c;
  read_sample_size(json, c);
  c.in_channels = json.get_int("in_channels", 3);
  c.out_channels = json.get_int("out_channels", 3);
  c.center_input_sample = json.get_bool("center_input_sample", false);
  c.flip_sin_to_cos = json.get_bool("flip_sin_to_cos", true);
  c.freq_shift = json.get_number("freq_shift", 0);
  c.time_embedding_dim = optional_int(json, "time_embedding_dim", std::nullopt);
  c.down_attention =
      attention_flags(json, "down_block_types", "DownBlock2D", "AttnDownBlock2D",
                      {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"});
  c.up_attention =
      attention_flags(json, "up_block_types", "UpBlock2D", "AttnUpBlock2D",
                      {"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"});
  c.block_out_channels = json.get_ints("block_out_channels", {224, 448, 672, 896});
  c.layers_per_block = json.get_int("layers_per_block", 2);
  if (json.json().contains("mid_block_type") && !json.contains("mid_block_type")) {
    c.mid_block = false;
  } else {
    expect_one(json, "mid_block_type", "UNetMidBlock2D");
  }
  c.mid_block_scale_factor = json.get_number("mid_block_scale_factor", 1);
  c.add_attention = json.get_bool("add_attention", true);
  c.downsample_padding = json.get_int("downsample_padding", 1);
  c.dropout = json.get_number("dropout", 0);
  c.attention_head_dim = optional_int(json, "attention_head_dim", 8);
  c.norm_num_groups = json.get_int("norm_num_groups", 32);
  c.attn_norm_num_groups = optional_int(json, "attn_norm_num_groups", std::nullopt);
  c.norm_eps = json.get_number("norm_eps", 1e-5);
  const std::string shift = json.get_string("resnet_time_scale_shift", "default");
  if (shift != "default" && shift != "scale_shift")
    refuse(json, "resnet_time_scale_shift", shift, "default, scale_shift");
  c.scale_shift = shift == "scale_shift";
  read_class_embed(json, c);
  c.num_train_timesteps = optional_int(json, "num_train_timesteps", std::nullopt);
  try {
    c.check();
  } catch (const Error& e) {
    throw Error(json.source(), e.what());
  }
  return c;
}

io::Json to_json(const UNetConfig& c) {
  auto types = [](const std::vector<bool>& flags, const char* plain, const char* with_attention) {
    io::Json list = io::Json::array();
    for (bool attention : flags) list.push_back(attention ? with_attention : plain);
    return list;
  };
  io::Json j;
  j["_class_name"] = "UNet2DModel";
  j["_diffusers_version"] = kDiffusersVersion;
  j["act_fn"] = "silu";
  j["add_attention"] = c.add_attention;
  j["attention_head_dim"] = or_null(c.attention_head_dim);
  j["attn_norm_num_groups"] = or_null(c.attn_norm_num_groups);
  j["block_out_channels"] = c.block_out_channels;
  j["center_input_sample"] = c.center_input_sample;
  j["class_embed_type"] = c.class_embed == ClassEmbed::timestep   ? io::Json("timestep")
                          : c.class_embed == ClassEmbed::identity ? io::Json("identity")
                                                                  : io::Json(nullptr);
  j["down_block_types"] = types(c.down_attention, "DownBlock2D", "AttnDownBlock2D");
  j["downsample_padding"] = c.downsample_padding;
  j["downsample_type"] = "conv";
  j["dropout"] = c.dropout;
  j["flip_sin_to_cos"] = c.flip_sin_to_cos;
  j["freq_shift"] = c.freq_shift;
  j["in_channels"] = c.in_channels;
  j["layers_per_block"] = c.layers_per_block;
  j["mid_block_scale_factor"] = c.mid_block_scale_factor;
  j["mid_block_type"] = c.mid_block ? io::Json("UNetMidBlock2D") : io::Json(nullptr);
  j["norm_eps"] = c.norm_eps;
  j["norm_num_groups"] = c.norm_num_groups;
  j["num_class_embeds"] =
      c.class_embed == ClassEmbed::table ? io::Json(c.num_class_embeds) : io::Json(nullptr);
  j["num_train_timesteps"] = or_null(c.num_train_timesteps);
  j["out_channels"] = c.out_channels;
  j["resnet_time_scale_shift"] = c.scale_shift ? "scale_shift" : "default";
  j["sample_size"] = c.sample_height == 0 ? io::Json(nullptr)
                     : c.sample_height == c.sample_width
                         ? io::Json(c.sample_height)
                         : io::Json::array({c.sample_height, c.sample_width});
  j["time_embedding_dim"] = or_null(c.time_embedding_dim);
  j["time_embedding_type"] = "positional";
  j["up_block_types"] = types(c.up_attention, "UpBlock2D", "AttnUpBlock2D");
  j["upsample_type"] = "conv";
  // diffusers counts frequencies in whole numbers.
  if (std::abs(c.freq_shift) < 1e15 && c.freq_shift == std::trunc(c.freq_shift))
    j["freq_shift"] = static_cast<std::int64_t>(c.freq_shift);
  return j;
}

}  // namespace sfumato::nn
