#include "nn/presets.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "nn/dit.h"
#include "nn/self_conditioned.h"
#include "nn/unet.h"
#include "tensor/error.h"
#include "tensor/io/text.h"

namespace sfumato::nn {
namespace {

struct UNetPreset {
  const char* name;
  std::int64_t channels[3];  // of the levels, outermost first
  std::int64_t layers_per_block;
  bool attention;  // in the innermost level and in the middle block
};

// `small` is what the demo trains: chosen by how soon an independent classifier reads its digits as the right class
// (docs/recipes.md).
constexpr UNetPreset kUNets[] = {
    {.name = "tiny", .channels = {8, 16, 16}, .layers_per_block = 1, .attention = false},
    {.name = "small", .channels = {16, 32, 32}, .layers_per_block = 2, .attention = false},
    {.name = "base", .channels = {32, 64, 64}, .layers_per_block = 2, .attention = true},
};

struct DiTPreset {
  const char* name;
  std::int64_t heads, head_dim, layers, patch;
};

constexpr DiTPreset kDiTs[] = {
    {.name = "dit-tiny", .heads = 2, .head_dim = 16, .layers = 2, .patch = 4},
    {.name = "dit", .heads = 4, .head_dim = 32, .layers = 4, .patch = 4},
    {.name = "dit-base", .heads = 4, .head_dim = 32, .layers = 6, .patch = 2},
};

template <class Row>
const Row* find(std::span<const Row> rows, std::string_view name) {
  const auto row =
      std::find_if(rows.begin(), rows.end(), [&](const Row& p) { return name == p.name; });
  return row == rows.end() ? nullptr : &*row;
}

template <class Row>
std::string names_of(std::span<const Row> rows) {
  std::string names;
  for (const Row& p : rows) names += (names.empty() ? "" : ", ") + std::string(p.name);
  return names;
}

template <class Row>
const Row& expect_preset(std::span<const Row> rows, std::string_view name) {
  if (const Row* p = find(rows, name)) return *p;
  throw Error("preset", fmt::format("expected {}, got {}", names_of(rows), io::in_quotes(name)));
}

constexpr std::span<const UNetPreset> unets() { return kUNets; }
constexpr std::span<const DiTPreset> dits() { return kDiTs; }

}  // namespace

namespace {

// A preset that sees so many channels.
BuildNetwork build(std::string_view name, const PresetFor& data, std::int64_t seen) {
  const std::int64_t said = (data.learned_variance ? 2 : 1) * data.channels;
  if (find(dits(), name)) {
    DiTConfig config = dit_preset(name, seen, data.size, data.classes);
    config.dropout = data.dropout.value_or(config.dropout);
    if (said != seen) config.out_channels = said;
    return [config](const Scope& scope) { return std::make_unique<DiT>(scope, config); };
  }
  UNetConfig config = preset(name, seen, data.classes + (data.hides_labels ? 1 : 0));
  if (data.hides_labels) config.conditioning.null_label = data.classes;
  config.dropout = data.dropout.value_or(config.dropout);
  config.out_channels = said;
  return [config](const Scope& scope) { return std::make_unique<UNet>(scope, config); };
}

}  // namespace

bool is_preset(std::string_view name) { return find(unets(), name) || find(dits(), name); }

std::string preset_names() { return names_of(unets()) + ", " + names_of(dits()); }

UNetConfig preset(std::string_view name, std::int64_t channels, std::int64_t class_rows) {
  const UNetPreset& p = expect_preset(unets(), name);
  UNetConfig c;
  c.in_channels = c.out_channels = channels;
  c.block_out_channels.assign(std::begin(p.channels), std::end(p.channels));
  c.layers_per_block = p.layers_per_block;
  c.down_attention = {false, false, p.attention};
  c.up_attention = {p.attention, false, false};
  c.add_attention = p.attention;
  c.norm_num_groups = 8;
  if (class_rows > 0) c.conditioning = {.kind = Conditioning::Kind::table, .rows = class_rows};
  return c;
}

DiTConfig dit_preset(std::string_view name, std::int64_t channels, std::int64_t size,
                     std::int64_t classes) {
  const DiTPreset& p = expect_preset(dits(), name);
  DiTConfig c;
  c.num_attention_heads = p.heads;
  c.attention_head_dim = p.head_dim;
  c.num_layers = p.layers;
  c.patch_size = p.patch;
  c.in_channels = channels;
  c.sample_size = std::max(size, p.patch);
  c.num_embeds_ada_norm = classes;
  return c;
}

BuildNetwork build_preset(std::string_view name, const PresetFor& data) {
  if (!data.self_condition) return build(name, data, data.channels);
  return self_conditioned(build(name, data, 2 * data.channels));
}

}  // namespace sfumato::nn
