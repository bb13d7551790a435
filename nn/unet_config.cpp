#include "nn/unet_config.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "nn/config_fields.h"
#include "tensor/io/fields.h"

namespace sfumato::nn {
namespace {

using io::AnyValue;
using io::Json;
using io::JsonObject;

// Keys that diffusers 0.2 renamed, and their names since: those had an effect.
// Keys before diffusers 0.1, and today's (its scripts/change_naming_configs_and_checkpoints.py).
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

// ---- the forms of values that only this file has (the others: config_fields.h and tensor/io/fields.h)

// A key that is kept elsewhere.
struct Elsewhere : AnyValue {
  template <class T>
  void read(const JsonObject&, const char*, T&) const {}
  template <class T>
  Json write(const T&) const {
    return nullptr;
  }
};

// A list of words: the types of blocks, true with attention.
struct BlockTypes : Words {
  using Words::Words;
  void read(const JsonObject& json, const char* key, std::vector<bool>& values) const {
    values.clear();
    for (std::string type : json.get_strings(key)) {
      if (type.starts_with("UNetRes"))
        type.erase(0, 7);  // of the first releases: UNetResDownBlock2D
      values.push_back(parse(json, key, type));
    }
  }
  Json write(const std::vector<bool>& values) const {
    Json list = Json::array();
    for (const bool value : values) list.push_back(Words::write(value));
    return list;
  }
};

// true is the only type of middle block, false is null.
struct MiddleBlock : AnyValue {
  static constexpr const char* kType = "UNetMidBlock2D";
  void read(const JsonObject& json, const char* key, bool& value) const {
    const std::string came = json.get_string(key);
    if (came != kType) refuse_value(json, key, came, kType);
    value = true;
  }
  void read_null(bool& value) const { value = false; }
  Json write(bool value) const { return value ? Json(kType) : Json(nullptr); }
};

// diffusers counts frequencies in whole numbers.
struct WholeReal : io::Real {
  Json write(double value) const {
    const bool whole = std::abs(value) < 1e15 && value == std::trunc(value);
    return whole ? Json(static_cast<std::int64_t>(value)) : Json(value);
  }
};

// class_embed_type; a table is told by num_class_embeds, which only counts where this is null.
struct ClassEmbedType : AnyValue {
  using Kind = Conditioning::Kind;
  void read(const JsonObject& json, const char* key, Conditioning& c) const {
    const std::string type = json.get_string(key);
    if (type == "timestep") {
      c.kind = Kind::timestep;
    } else if (type == "identity") {
      c.kind = Kind::identity;
    } else if (!type.empty()) {
      refuse_value(json, key, type, "null, timestep, identity");
    }
  }
  Json write(const Conditioning& c) const {
    if (c.kind == Kind::timestep) return "timestep";
    if (c.kind == Kind::identity) return "identity";
    return nullptr;
  }
};

struct TableRows : AnyValue {
  void read(const JsonObject& json, const char* key, Conditioning& c) const {
    if (c.kind != Conditioning::Kind::none) return;
    c.kind = Conditioning::Kind::table;
    c.rows = json.get_int(key);
  }
  Json write(const Conditioning& c) const { return c.has_table() ? Json(c.rows) : Json(nullptr); }
  std::string problem(const Conditioning& c) const {
    return c.has_table() ? io::Integer{1, 1 << 24}.problem(c.rows) : std::string();
  }
};

// Every key of UNet2DModel's config; any other is without effect. Config: UNetConfig, const or not.
template <class Visitor, class Config>
void visit_fields(const Visitor& v, Config& c) {
  using io::Bool, io::Integer, io::Integers, io::OrNull, io::Real;
  constexpr std::int64_t kMaxChannels = 1 << 16;
  NoMember none;
  v("act_fn", none, Only{"silu", "swish"});
  v("time_embedding_type", none, Only{"positional"});
  v("downsample_type", none, Only{"conv"});
  v("upsample_type", none, Only{"conv"});
  v("sample_size", none, Elsewhere{});
  v("in_channels", c.in_channels, Integer{1, kMaxChannels});
  v("out_channels", c.out_channels, Integer{1, kMaxChannels});
  v("center_input_sample", c.center_input_sample, Bool{});
  v("flip_sin_to_cos", c.flip_sin_to_cos, Bool{});
  v("freq_shift", c.freq_shift, WholeReal{});
  v("time_embedding_dim", c.time_embedding_dim, OrNull{Integer{1, 1 << 20}});
  v("down_block_types", c.down_attention, BlockTypes{"DownBlock2D", "AttnDownBlock2D"});
  v("up_block_types", c.up_attention, BlockTypes{"UpBlock2D", "AttnUpBlock2D"});
  v("block_out_channels", c.block_out_channels, Integers{1, kMaxChannels});
  v("layers_per_block", c.layers_per_block, Integer{1, 64});
  v("mid_block_type", c.mid_block, MiddleBlock{});
  v("mid_block_scale_factor", c.mid_block_scale_factor,
    Real{[](double factor) { return factor != 0; }, "another number than 0"});
  v("add_attention", c.add_attention, Bool{});
  v("downsample_padding", c.downsample_padding, Integer{0, 1});
  v("dropout", c.dropout, Real{[](double p) { return p >= 0 && p < 1; }, "0 <= p < 1"});
  v("attention_head_dim", c.attention_head_dim, OrNull{Integer{1, kMaxChannels}});
  v("norm_num_groups", c.norm_num_groups, Integer{1, kMaxChannels});
  v("attn_norm_num_groups", c.attn_norm_num_groups, OrNull{Integer{}});
  v("norm_eps", c.norm_eps, Real{[](double eps) { return eps > 0; }, "a positive number"});
  v("resnet_time_scale_shift", c.scale_shift, Words{"default", "scale_shift"});
  v("class_embed_type", c.conditioning, ClassEmbedType{});
  v("num_class_embeds", c.conditioning, TableRows{});
  v("num_train_timesteps", c.num_train_timesteps, OrNull{Integer{}});
}

const std::set<std::string>& known_keys() {
  static const std::set<std::string> keys = [] {
    std::set<std::string> all;
    const UNetConfig config;
    visit_fields(io::CollectKeys{all}, config);
    return all;
  }();
  return keys;
}

// With the keys of before diffusers 0.1 under today's names.
JsonObject with_current_keys(const JsonObject& json) {
  Json current = json.json();
  for (const auto& [before, now] : kRenamed) {
    const auto old = current.find(before);
    if (old == current.end() || current.contains(now)) continue;  // both: the class reads past it
    current[now] = *old;
    current.erase(before);
  }
  return JsonObject(std::move(current), json.source());
}

}  // namespace

void UNetConfig::check() const {
  const auto refuse = [](const std::string& what) { throw Error("unet", what); };
  const std::size_t levels = block_out_channels.size();
  if (levels == 0) refuse("block_out_channels is empty");
  if (levels > 12) refuse("block_out_channels: more than 12 levels");
  if (down_attention.size() != levels || up_attention.size() != levels)
    refuse(fmt::format(
        "expected one down and one up block for each of the {} block_out_channels, got {} and {}",
        levels, down_attention.size(), up_attention.size()));
  visit_fields(io::CheckFields{"unet"}, *this);
  for (const std::int64_t c : block_out_channels)
    if (c % norm_num_groups != 0)
      refuse(fmt::format("block_out_channels {} is not divisible by norm_num_groups {}", c,
                         norm_num_groups));
}

bool looks_like_unet_config(const JsonObject& json) {
  for (const auto& item : json.json().items())  // other classes have a dropout too
    if (known_keys().contains(item.key()) && item.key() != "dropout") return true;
  return false;
}

UNetConfig parse_unet_config(const JsonObject& file, std::vector<std::string>* notes) {
  const JsonObject json = with_current_keys(file);
  const auto visit = [](auto&& visitor, auto& c) { visit_fields(visitor, c); };
  return read_config<UNetConfig>(json, "UNet2DModel", visit, notes);
}

Json to_json(const UNetConfig& config) {
  Json json = Json::object();
  json["_class_name"] = "UNet2DModel";
  json["_diffusers_version"] = kDiffusersVersion;
  visit_fields(io::WriteFields{json}, config);
  return json;
}

}  // namespace sfumato::nn
