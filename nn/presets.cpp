#include "nn/presets.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "tensor/error.h"
#include "tensor/io/text.h"

namespace sfumato::nn {
namespace {

struct Preset {
  const char* name;
  std::int64_t channels[3];  // of the levels, outermost first
  std::int64_t layers_per_block;
  bool attention;  // in the innermost level and in the middle block
};

// `small` is what the demo trains: chosen by how soon an independent classifier reads its digits as the right class
// (docs/recipes.md).
constexpr Preset kPresets[] = {
    {.name = "tiny", .channels = {8, 16, 16}, .layers_per_block = 1, .attention = false},
    {.name = "small", .channels = {16, 32, 32}, .layers_per_block = 2, .attention = false},
    {.name = "base", .channels = {32, 64, 64}, .layers_per_block = 2, .attention = true},
};

const Preset* find(std::string_view name) {
  const auto row = std::find_if(std::begin(kPresets), std::end(kPresets),
                                [&](const Preset& p) { return name == p.name; });
  return row == std::end(kPresets) ? nullptr : row;
}

}  // namespace

bool is_preset(std::string_view name) { return find(name) != nullptr; }

std::string preset_names() {
  std::string names;
  for (const Preset& p : kPresets) names += (names.empty() ? "" : ", ") + std::string(p.name);
  return names;
}

UNetConfig preset(std::string_view name, std::int64_t channels, std::int64_t class_rows) {
  const Preset* p = find(name);
  if (!p)
    throw Error("preset", fmt::format("expected {}, got {}", preset_names(), io::in_quotes(name)));
  UNetConfig c;
  c.in_channels = c.out_channels = channels;
  c.block_out_channels.assign(std::begin(p->channels), std::end(p->channels));
  c.layers_per_block = p->layers_per_block;
  c.down_attention = {false, false, p->attention};
  c.up_attention = {p->attention, false, false};
  c.add_attention = p->attention;
  c.norm_num_groups = 8;
  if (class_rows > 0) c.conditioning = {.kind = Conditioning::Kind::table, .rows = class_rows};
  return c;
}

}  // namespace sfumato::nn
