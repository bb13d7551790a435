#include "diffusion/model_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "nn/network.h"
#include "tensor/error.h"
#include "tensor/io/json.h"

namespace sfumato::diffusion {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStem = "diffusion_pytorch_model.";
constexpr std::string_view kEnding = ".safetensors";

bool is_there(const fs::path& p) {
  std::error_code ignored;
  return fs::exists(p, ignored);
}

bool is_folder(const fs::path& p) {
  std::error_code ignored;
  return fs::is_directory(p, ignored);
}

fs::path first_existing(std::initializer_list<fs::path> candidates) {
  for (const fs::path& p : candidates)
    if (is_there(p)) return p;
  return {};
}

// Names in the folder, sorted; the first ten thousand of them.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
    if (names.size() == 10'000) break;
  }
  if (error) throw Error(folder.string(), "cannot read the folder: " + error.message());
  std::sort(names.begin(), names.end());
  return names;
}

// What a JSON file names as its class; empty when it cannot be read or names none.
std::string class_in(const fs::path& file) {
  try {
    return io::JsonObject::read(file).get_string("_class_name", "");
  } catch (const Error&) {
    return {};
  }
}

// ".ckpt" and the like, which only Python opens safely; empty for another name.
std::string kind_of_pickle(const std::string& name) {
  for (const char* ending : {".bin", ".ckpt", ".pt", ".pth", ".pkl"})
    if (name.ends_with(ending)) return "a Python pickle";
  if (name.ends_with(".msgpack")) return "weights of Flax";
  if (name.ends_with(".onnx")) return "a network of ONNX";
  if (name.ends_with(".h5")) return "weights of Keras";
  if (name.ends_with(".gguf")) return "quantised weights";
  return {};
}

std::string how_to_convert(const fs::path& folder) {
  const std::string name = folder.string();
  return fmt::format(
      "in Python: from diffusers import UNet2DModel; m = "
      "UNet2DModel.from_pretrained({0}); m.save_pretrained({0})",
      io::in_quotes(name));
}

// ---- the weights

// The parts that an index lists, each once.
std::vector<fs::path> parts_of(const fs::path& index) {
  const io::JsonObject map = io::JsonObject::read(index).get_object("weight_map");
  std::set<std::string> names;
  for (const auto& item : map.json().items()) {
    const std::string name = map.get_string(item.key());
    if (!name.ends_with(kEnding) || name.find('/') != std::string::npos)
      throw Error(
          map.source(),
          fmt::format("{}: expected the name of a safetensors file beside the index, got {}",
                      io::in_quotes(item.key()), io::in_quotes(name)));
    names.insert(name);
  }
  if (names.empty()) throw Error(map.source(), "names no file");
  std::vector<fs::path> parts;
  for (const std::string& name : names) {
    parts.push_back(index.parent_path() / name);
    if (!is_there(parts.back()))
      throw Error(index.parent_path().string(),
                  fmt::format("{} is missing, a part of the weights that {} lists",
                              io::in_quotes(name), index.filename().string()));
  }
  return parts;
}

[[noreturn]] void refuse_without_weights(const fs::path& folder,
                                         const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (const std::string kind = kind_of_pickle(name); !kind.empty())
      throw Error(folder.string(), fmt::format("holds {}, {}; expected {} ({})", name, kind,
                                               kWeightsFile, how_to_convert(folder)));
  throw Error(folder.string(), fmt::format("{} is missing", kWeightsFile));
}

// ---- folders of something else

// The config.json of the network in a pipeline's folder, or of a network's own folder; empty when there is none.
fs::path config_of(const fs::path& dir) {
  for (const std::string& part : nn::network_parts())
    if (fs::path config = dir / part / "config.json"; is_there(config)) return config;
  return is_there(dir / "config.json") ? dir / "config.json" : fs::path();
}

struct Contents {
  std::vector<std::string> models;  // sub-folders that can be given as --model
  std::vector<std::string> parts;   // sub-folders with another class, "vae (AutoencoderKL)"
};

Contents contents_of(const fs::path& dir, const std::vector<std::string>& names) {
  Contents c;
  for (const std::string& name : names) {
    const fs::path sub = dir / name;
    if (name.starts_with(".") || !is_folder(sub)) continue;
    const std::string network = class_in(config_of(sub)),
                      of = network.empty() ? class_in(sub / "scheduler_config.json") : network;
    if (nn::find_network_class(network)) {
      c.models.push_back(sub.string());
    } else if (!of.empty()) {
      c.parts.push_back(fmt::format("{} ({})", name, of));
    }
  }
  return c;
}

[[noreturn]] void refuse_without_config(const fs::path& dir, const std::string& pipeline) {
  const std::vector<std::string> names = names_in(dir);
  const Contents contents = contents_of(dir, names);
  std::string what;
  if (!pipeline.empty()) {
    what = fmt::format("this folder holds a {}", io::in_quotes(pipeline));
    if (!contents.parts.empty()) what += " of " + io::in_quotes(contents.parts);
    what += " and no unet/config.json; sfumato reads " + nn::network_class_names();
  } else {
    what = "not a diffusers model: neither unet/config.json nor config.json is there";
    if (!contents.parts.empty())
      what += fmt::format("; it holds {}, and sfumato reads {}", io::in_quotes(contents.parts),
                          nn::network_class_names());
  }
  if (contents.models.size() == 1)
    what += fmt::format("; there is a model in {}: give --model {}", io::in_quotes(contents.models),
                        contents.models[0]);
  if (contents.models.size() > 1)
    what += fmt::format("; there are models in {}: give one of them as --model",
                        io::in_quotes(contents.models));
  if (contents.models.empty())
    for (const std::string& name : names) {
      const std::string kind = kind_of_pickle(name);
      if (kind.empty() && !name.ends_with(kEnding)) continue;
      what +=
          fmt::format("; it holds {}{}, which needs the config.json of its UNet2DModel beside it",
                      io::in_quotes(name), kind.empty() ? "" : ", " + kind);
      break;
    }
  throw Error(dir.string(), what);
}

// `dir` is no folder.
[[noreturn]] void refuse_file(const fs::path& dir) {
  if (!is_there(dir)) throw Error(dir.string(), "no such folder");
  const std::string name = dir.filename().string();
  fs::path folder = dir.parent_path();
  if (folder.empty()) folder = ".";
  if (const std::string kind = kind_of_pickle(name); !kind.empty())
    throw Error(dir.string(), fmt::format("no such folder: this is a file, {}; expected the folder "
                                          "that save_pretrained of diffusers writes ({})",
                                          kind, how_to_convert(folder)));
  if (name.ends_with(kEnding) || name == "config.json" || name == "model_index.json")
    throw Error(dir.string(),
                fmt::format("no such folder: this is a file; give the folder {}", folder.string()));
  throw Error(dir.string(), "no such folder: this is a file; expected a model's folder");
}

// ---- the pipeline around the network

// Parts that make pictures of a network's latents.
constexpr std::array kDecoders = {"vqvae", "vae", "movq", "decoder"};

void read_index(const fs::path& file, ModelFolder& m) {
  if (!is_there(file)) return;
  try {
    const io::JsonObject index = io::JsonObject::read(file);
    m.pipeline = index.get_string("_class_name", "");
    for (const char* part : kDecoders)
      if (index.contains(part) && index.json().at(part) != io::Json::array({nullptr, nullptr}))
        m.decoder = part;
  } catch (const Error& e) {  // nothing that is needed stands there
    m.notes.push_back(std::string("read past ") + e.what());
  }
}

// The folder around `dir` when that is a pipeline's part (unet, or unet_ema, ...); empty otherwise.
fs::path pipeline_around(const fs::path& dir) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(dir / ".", error);
  const fs::path named = whole.filename().empty() ? whole.parent_path() : whole;
  const std::string name = named.filename().string();
  const std::vector<std::string> parts = nn::network_parts();
  if (error || std::none_of(parts.begin(), parts.end(),
                            [&](const std::string& part) { return name.starts_with(part); }))
    return {};
  const fs::path around = named.parent_path();
  return is_there(around / "scheduler" / "scheduler_config.json") ? around : fs::path();
}

}  // namespace

ModelFolder find_model(const fs::path& dir) {
  if (!is_folder(dir)) refuse_file(dir);
  ModelFolder m;
  read_index(dir / "model_index.json", m);
  m.config = config_of(dir);
  if (m.config.empty()) refuse_without_config(dir, m.pipeline);
  m.scheduler =
      first_existing({dir / "scheduler" / "scheduler_config.json", dir / "scheduler_config.json"});
  const bool is_part = m.config == dir / "config.json";
  if (const fs::path around = pipeline_around(dir);
      is_part && m.scheduler.empty() && !around.empty()) {
    m.scheduler = around / "scheduler" / "scheduler_config.json";
    read_index(around / "model_index.json", m);
    m.notes.push_back(fmt::format("{}: with the scheduler of the pipeline around it, {}",
                                  dir.string(), m.scheduler.string()));
  }
  const std::string part = m.config.parent_path().filename().string();
  if (!is_part && is_there(dir / (part + "_ema") / "config.json"))
    m.notes.push_back(
        fmt::format("{0}: read its {1}; {0}/{1}_ema holds the moving average of its "
                    "weights, for --model {0}/{1}_ema",
                    dir.string(), part));
  return m;
}

std::vector<fs::path> find_weights(const fs::path& folder, std::vector<std::string>& notes) {
  if (is_there(folder / kWeightsFile)) return {folder / kWeightsFile};
  const std::string plain_index = std::string(kWeightsFile) + ".index.json";
  if (is_there(folder / plain_index)) return parts_of(folder / plain_index);
  const std::vector<std::string> names = names_in(folder);
  std::vector<std::string> variants;
  for (const std::string& name : names) {
    const bool whole = name.starts_with(kStem) && name.ends_with(kEnding) &&
                       name.find("-of-") == std::string::npos;
    const bool index = name.starts_with(kWeightsFile) && name.ends_with(".json");
    if (whole || index || name == "model.safetensors") variants.push_back(name);
  }
  if (variants.empty()) refuse_without_weights(folder, names);
  if (variants.size() > 1)
    throw Error(folder.string(), fmt::format("holds several variants of the weights: {}; give the "
                                             "one to be used the name {}",
                                             io::in_quotes(variants), kWeightsFile));
  notes.push_back(fmt::format("{}: read {}, as there is no {}", folder.string(),
                              io::in_quotes(variants), kWeightsFile));
  const fs::path only = folder / variants[0];
  return only.extension() == ".json" ? parts_of(only) : std::vector{only};
}

}  // namespace sfumato::diffusion
