#include "nn/lucid_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "tensor/error.h"
#include "tensor/io/json.h"

namespace sfumato::nn {
namespace {

constexpr const char* kFirst = "init_conv.weight";  // no other U-Net has a parameter of that name

// The names and shapes of one network in the file.
class LucidReader {
 public:
  LucidReader(const io::SafeTensors& file, const std::string& prefix, const LucidChoices& choices)
      : file_(file), prefix_(prefix), choices_(choices) {}

  LucidUnetConfig read() {
    refuse_other_networks();
    LucidUnetConfig c;
    c.dim = shape("time_mlp.1.weight")[1];
    const std::int64_t first = shape(kFirst)[0];
    if (first != c.dim) c.init_dim = first;
    read_channels(c);
    c.version = version();
    c.resnet_block_groups = choices_.groups;
    read_levels(c);
    return c;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(file_.path().string(), what);
  }

  bool has(const std::string& name) const { return file_.contains(prefix_ + name); }

  // Of a weight: of two or of four axes, as that of a linear layer or of a convolution.
  Shape shape(const std::string& name) const {
    const Shape& s = file_.shape(prefix_ + name);
    const int expected = name.starts_with("time_mlp") ? 2 : 4;
    if (s.rank() != expected || s.size() == 0)
      refuse(fmt::format("{} has shape {}, expected one of {} axes", io::in_quotes(name), s.str(),
                         expected));
    return s;
  }

  void refuse_other_networks() const {
    if (has("classes_emb.weight") || has("null_classes_emb"))
      refuse(
          "this is the class-conditional U-Net of classifier_free_guidance.py, which sfumato does "
          "not have; expected the Unet of denoising_diffusion_pytorch.py");
    if (has("time_mlp.0.weights"))
      refuse("learned_sinusoidal_cond and random_fourier_features are not supported");
    if (has("downs.0.3.weight") && has("downs.1.0.block1.proj.weight"))
      refuse(
          "halves pictures by a convolution, as releases of denoising-diffusion-pytorch before 1.0 "
          "did; expected one of 1.0 or later");
  }

  void read_channels(LucidUnetConfig& c) const {
    c.channels = shape(kFirst)[1];
    const std::int64_t out = shape("final_conv.weight")[0];
    if (c.channels == 2 * out)
      refuse(
          fmt::format("maps {} channels to {}: it is told its last estimate (self_condition), "
                      "which is not supported",
                      c.channels, out));
    c.learned_variance = out == 2 * c.channels;
    if (!c.learned_variance && out != c.channels) c.out_dim = out;
  }

  bool fits(const LucidVersion& row) const {
    return row.wraps_attention == has("mid_attn.fn.fn.to_qkv.weight") &&
           row.block_rms_norm == has("mid_block1.block1.norm.g") &&
           row.memory == has("mid_attn.mem_kv");
  }

  LucidVersion version() const {
    std::string names;
    std::vector<LucidVersion> fitting;
    for (const LucidVersion& row : lucid_versions()) {
      if (!fits(row) || (choices_.version && !(*choices_.version == row))) continue;
      fitting.push_back(row);
      names += (names.empty() ? "" : " or ") + std::string(row.name);
    }
    if (fitting.size() == 1) return fitting[0];
    if (fitting.empty())
      refuse(choices_.version
                 ? fmt::format("its names are not those of version {}", choices_.version->name)
                 : "its names are those of no known release of denoising-diffusion-pytorch");
    refuse(fmt::format("its names do not tell releases from {} on apart: give --package-version",
                       names));
  }

  void read_levels(LucidUnetConfig& c) const {
    c.dim_mults.clear(), c.attn_heads.clear(), c.attn_dim_head.clear(), c.full_attn.clear();
    for (int i = 0; has(fmt::format("downs.{}.0.block1.proj.weight", i)); ++i) {
      const std::string level = fmt::format("downs.{}.", i);
      const bool last = has(level + "3.weight");
      const std::int64_t out = shape(level + (last ? "3.weight" : "3.1.weight"))[0];
      if (out % c.dim != 0)
        refuse(
            fmt::format("level {} has {} channels, expected a multiple of dim {}", i, out, c.dim));
      c.dim_mults.push_back(out / c.dim);
      read_attention(c, level + (c.version.wraps_attention ? "2.fn.fn." : "2."));
    }
    if (c.dim_mults.empty()) refuse(fmt::format("{}downs.0 is missing", prefix_));
    const auto all_equal = [](std::vector<std::int64_t>& list) {
      if (std::equal(list.begin() + 1, list.end(), list.begin())) list.resize(1);
    };
    all_equal(c.attn_heads), all_equal(c.attn_dim_head);
    std::vector<std::int64_t> usual(c.full_attn.size(), 0);
    usual.back() = 1;
    // (Before 2.0 the class has another default, or none.)
    if (c.version.block_rms_norm && c.full_attn == usual) c.full_attn.clear();
  }

  void read_attention(LucidUnetConfig& c, const std::string& at) const {
    const std::int64_t inner = shape(at + "to_qkv.weight")[0] / 3;
    const bool full = has(at + "to_out.weight");
    std::int64_t heads = choices_.heads;
    if (c.version.memory) {
      const Shape held = shape(at + "mem_kv");
      heads = held[1];
      c.num_mem_kv = held[full ? 2 : 3];
    }
    if (inner < heads || inner % heads != 0)
      refuse(fmt::format("{} makes {} channels, which are not divisible by {} heads: give --heads",
                         io::in_quotes(at + "to_qkv.weight"), inner, heads));
    c.attn_heads.push_back(heads);
    c.attn_dim_head.push_back(inner / heads);
    c.full_attn.push_back(full ? 1 : 0);
  }

  const io::SafeTensors& file_;
  const std::string& prefix_;
  const LucidChoices& choices_;
};

}  // namespace

std::string find_lucid_prefix(const io::SafeTensors& file, std::vector<std::string>& notes) {
  std::vector<std::string> prefixes, averages;
  for (const io::TensorEntry& entry : file.entries()) {
    if (!entry.name.ends_with(kFirst)) continue;
    const std::string prefix = entry.name.substr(0, entry.name.size() - std::string(kFirst).size());
    if (!prefix.empty() && !prefix.ends_with('.')) continue;
    prefixes.push_back(prefix);
    // The average, and not the trained copy that the same object holds.
    if (("." + prefix).find(".ema") != std::string::npos &&
        prefix.find("online_model.") == std::string::npos)
      averages.push_back(prefix);
  }
  if (prefixes.empty())
    throw Error(file.path().string(),
                fmt::format("holds no {}: not a checkpoint of denoising-diffusion-pytorch",
                            io::in_quotes(kFirst)));
  if (prefixes.size() == 1) return prefixes[0];
  if (averages.size() != 1)
    throw Error(file.path().string(),
                fmt::format("holds {} networks, {}: give one of them as --prefix", prefixes.size(),
                            io::in_quotes(prefixes)));
  notes.push_back(fmt::format("{}: of {} took the moving average, {}", file.path().string(),
                              io::in_quotes(prefixes), io::in_quotes(averages[0])));
  return averages[0];
}

LucidUnetConfig lucid_config_of(const io::SafeTensors& file, const std::string& prefix,
                                const LucidChoices& choices) {
  return LucidReader(file, prefix, choices).read();
}

}  // namespace sfumato::nn
