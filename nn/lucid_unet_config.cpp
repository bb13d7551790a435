#include "nn/lucid_unet_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "nn/config_fields.h"
#include "nn/unet_config.h"
#include "tensor/io/fields.h"

namespace sfumato::nn {
namespace {

constexpr const char* kLucidClass = "Unet";

constexpr LucidVersion kLucidVersions[] = {
    {.name = "2.0",
     .block_rms_norm = true,
     .memory = true,
     .attention_rms_norm = true,
     .standardizes = false,
     .wraps_attention = false,
     .averages_values = false},
    {.name = "1.9",
     .block_rms_norm = false,
     .memory = true,
     .attention_rms_norm = true,
     .standardizes = false,
     .wraps_attention = false,
     .averages_values = false},
    {.name = "1.8",
     .block_rms_norm = false,
     .memory = false,
     .attention_rms_norm = true,
     .standardizes = false,
     .wraps_attention = false,
     .averages_values = false},
    {.name = "1.7",
     .block_rms_norm = false,
     .memory = false,
     .attention_rms_norm = true,
     .standardizes = true,
     .wraps_attention = true,
     .averages_values = true},
    {.name = "1.0",
     .block_rms_norm = false,
     .memory = false,
     .attention_rms_norm = false,
     .standardizes = true,
     .wraps_attention = true,
     .averages_values = true},
};

// Of each level, or one for all.
struct OfLevels : io::Integers {
  using io::Integers::Integers;
  void read(const io::JsonObject& json, const char* key, std::vector<std::int64_t>& v) const {
    if (json.json().at(key).is_array())
      io::Integers::read(json, key, v);
    else
      v = {json.get_int(key)};
  }
  io::Json write(const std::vector<std::int64_t>& v) const {
    return v.size() == 1 ? io::Json(v[0]) : io::Json(v);
  }
};

// null, true, or a list of them.
struct Switches : io::AnyValue {
  void read(const io::JsonObject& json, const char* key, std::vector<std::int64_t>& v) const {
    const io::Json& value = json.json().at(key);
    const io::Json list = value.is_array() ? value : io::Json::array({value});
    v.clear();
    for (const io::Json& one : list) {
      if (!one.is_boolean())
        throw Error(json.source(), fmt::format("{}: expected true, false or a list of them, got {}",
                                               key, one.dump()));
      v.push_back(one.get<bool>() ? 1 : 0);
    }
    if (v == std::vector<std::int64_t>{0}) v.clear();  // to the class, as null
  }
  void read_null(std::vector<std::int64_t>& v) const { v.clear(); }
  io::Json write(const std::vector<std::int64_t>& v) const {
    if (v.empty()) return nullptr;
    io::Json list = io::Json::array();
    for (const std::int64_t on : v) list.push_back(on != 0);
    return v.size() == 1 ? list[0] : list;
  }
};

struct ReleaseName : io::AnyValue {
  void read(const io::JsonObject& json, const char* key, LucidVersion& version) const {
    const std::string came = json.get_string(key);
    const LucidVersion* row = find_lucid_version(came);
    if (!row) refuse_value(json, key, came, lucid_version_names());
    version = *row;
  }
  io::Json write(const LucidVersion& version) const { return version.name; }
};

// The wavelengths of the time's features, which the class lets one choose.
struct OnlyTheta : io::AnyValue {
  static constexpr double kTheta = 10000;
  template <class T>
  void read(const io::JsonObject& json, const char* key, T&) const {
    if (const double came = json.get_number(key); came != kTheta)
      refuse_value(json, key, fmt::format("{}", came), "10000");
  }
  template <class T>
  io::Json write(const T&) const {
    return static_cast<std::int64_t>(kTheta);
  }
};

// Every key of the class's config. Config: LucidUnetConfig, const or not.
template <class Visitor, class Config>
void visit_lucid_fields(const Visitor& v, Config& c) {
  using io::Integer, io::Integers, io::OrNull, io::Real;
  constexpr std::int64_t kMaxChannels = 1 << 16;
  NoMember none;
  v("package_version", c.version, ReleaseName{});
  v("dim", c.dim, Integer{4, kMaxChannels});
  v("init_dim", c.init_dim, OrNull{Integer{1, kMaxChannels}});
  v("out_dim", c.out_dim, OrNull{Integer{1, kMaxChannels}});
  v("dim_mults", c.dim_mults, Integers{1, 1 << 10});
  v("channels", c.channels, Integer{1, kMaxChannels});
  v("self_condition", none, OnlyFlag{false});
  v("learned_variance", c.learned_variance, io::Bool{});
  v("learned_sinusoidal_cond", none, OnlyFlag{false});
  v("random_fourier_features", none, OnlyFlag{false});
  v("sinusoidal_pos_emb_theta", none, OnlyTheta{});
  v("dropout", c.dropout, Real{[](double p) { return p >= 0 && p < 1; }, "0 <= p < 1"});
  v("attn_dim_head", c.attn_dim_head, OfLevels{1, 1 << 12});
  v("attn_heads", c.attn_heads, OfLevels{1, 1 << 10});
  v("full_attn", c.full_attn, Switches{});
  v("resnet_block_groups", c.resnet_block_groups, Integer{1, kMaxChannels});
  v("num_mem_kv", c.num_mem_kv, Integer{1, 1 << 16});
}

}  // namespace

std::span<const LucidVersion> lucid_versions() { return kLucidVersions; }

std::string lucid_version_names() {
  std::string names;
  for (const LucidVersion& row : kLucidVersions)
    names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

const LucidVersion* find_lucid_version(std::string_view name) {
  const auto row = std::find_if(std::begin(kLucidVersions), std::end(kLucidVersions),
                                [&](const LucidVersion& v) { return v.name == name; });
  return row == std::end(kLucidVersions) ? nullptr : row;
}

void LucidUnetConfig::check() const {
  visit_lucid_fields(io::CheckFields{"unet"}, *this);
  const auto refuse = [](const std::string& what) { throw Error("unet", what); };
  if (dim_mults.empty() || levels() > 12)
    refuse(fmt::format("dim_mults: expected 1..12 levels, got {}", levels()));
  if (dim % 2 != 0) refuse(fmt::format("dim: expected an even number, got {}", dim));
  const auto expect_levels = [&](const char* key, const std::vector<std::int64_t>& list) {
    if (list.size() > 1 && list.size() != levels())
      refuse(fmt::format("{}: expected one value or one for each of {} levels, got {}", key,
                         levels(), list.size()));
  };
  if (attn_dim_head.empty() || attn_heads.empty())
    refuse("attn_dim_head and attn_heads: expected a value, got an empty list");
  expect_levels("attn_dim_head", attn_dim_head);
  expect_levels("attn_heads", attn_heads);
  expect_levels("full_attn", full_attn);
  for (std::size_t i = 0; !version.block_rms_norm && i <= levels(); ++i)
    if (const std::int64_t c = i == 0 ? first_dim() : dim_out(i - 1); c % resnet_block_groups != 0)
      refuse(fmt::format("{} channels are not divisible by resnet_block_groups {}", c,
                         resnet_block_groups));
}

LucidUnetConfig parse_lucid_unet_config(const io::JsonObject& json,
                                        std::vector<std::string>* notes) {
  const auto visit = [](auto&& visitor, auto& c) { visit_lucid_fields(visitor, c); };
  // Of these, the pipeline keeps the first; the others have no effect on the result.
  return read_config<LucidUnetConfig>(json, kLucidClass, visit, notes,
                                      {"sample_size", "flash_attn", "learned_sinusoidal_dim"});
}

io::Json to_json(const LucidUnetConfig& config) {
  io::Json json = io::Json::object();
  json["_class_name"] = kLucidClass;
  visit_lucid_fields(io::WriteFields{json}, config);
  return json;
}

}  // namespace sfumato::nn
