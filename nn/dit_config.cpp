#include "nn/dit_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "nn/config_fields.h"
#include "nn/unet_config.h"
#include "tensor/io/fields.h"

namespace sfumato::nn {
namespace {

constexpr const char* kClassName = "DiTTransformer2DModel";

// Every key of the class's config. Config: DiTConfig, const or not.
template <class Visitor, class Config>
void visit_dit_fields(const Visitor& v, Config& c) {
  using io::Bool, io::Integer, io::OrNull, io::Real;
  constexpr std::int64_t kMaxChannels = 1 << 16;
  NoMember none;
  v("num_attention_heads", c.num_attention_heads, Integer{1, 1 << 10});
  v("attention_head_dim", c.attention_head_dim, Integer{1, 1 << 12});
  v("in_channels", c.in_channels, Integer{1, kMaxChannels});
  v("out_channels", c.out_channels, OrNull{Integer{1, kMaxChannels}});
  v("num_layers", c.num_layers, Integer{1, 1 << 10});
  v("dropout", c.dropout, Real{[](double p) { return p >= 0 && p < 1; }, "0 <= p < 1"});
  v("norm_num_groups", c.norm_num_groups, Integer{});
  v("attention_bias", none, OnlyFlag{true});
  v("sample_size", c.sample_size, Integer{1, 1 << 16});
  v("patch_size", c.patch_size, Integer{1, 1 << 10});
  v("activation_fn", c.gelu_approximate, Words{"gelu", "gelu-approximate"});
  v("num_embeds_ada_norm", c.num_embeds_ada_norm, Integer{0, 1 << 24});
  v("upcast_attention", c.upcast_attention, Bool{});
  v("norm_type", none, Only{"ada_norm_zero"});
  v("norm_elementwise_affine", c.norm_elementwise_affine, Bool{});
  v("norm_eps", c.norm_eps, Real{[](double eps) { return eps > 0; }, "a positive number"});
}

}  // namespace

void DiTConfig::check() const {
  visit_dit_fields(io::CheckFields{"dit"}, *this);
  if (width() % 4 != 0)
    throw Error("dit",
                fmt::format("{} heads of {} channels: expected a multiple of 4 in all, for a "
                            "sine and a cosine of each coordinate, got {}",
                            num_attention_heads, attention_head_dim, width()));
  if (sample_size < patch_size)
    throw Error("dit", fmt::format("sample_size: expected at least the patch_size {}, got {}",
                                   patch_size, sample_size));
}

DiTConfig parse_dit_config(const io::JsonObject& json, std::vector<std::string>* notes) {
  const auto visit = [](auto&& visitor, auto& c) { visit_dit_fields(visitor, c); };
  return read_config<DiTConfig>(json, kClassName, visit, notes);
}

io::Json to_json(const DiTConfig& config) {
  io::Json json = io::Json::object();
  json["_class_name"] = kClassName;
  json["_diffusers_version"] = kDiffusersVersion;
  visit_dit_fields(io::WriteFields{json}, config);
  return json;
}

}  // namespace sfumato::nn
