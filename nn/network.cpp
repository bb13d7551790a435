#include "nn/network.h"

#include <fmt/format.h>

#include <algorithm>

#include "nn/dit.h"
#include "nn/lucid_unet.h"
#include "nn/unet.h"

namespace sfumato::nn {
namespace {

constexpr NetworkClass kClasses[] = {
    {"UNet2DModel", "U-Net", "unet", nullptr, read_unet, looks_like_unet_config, "diffusers"},
    {"DiTTransformer2DModel", "DiT", "transformer", "DiTPipeline", read_dit,
     [](const io::JsonObject&) { return false; },  // it has always been written with its name
     "diffusers"},
    {"Unet", "U-Net of denoising-diffusion-pytorch", "unet", nullptr, read_lucid_unet,
     [](const io::JsonObject&) { return false; },  // only this library writes one
     "denoising_diffusion_pytorch"},
};

}  // namespace

std::unique_ptr<Network> Network::with_rows(const Scope&, std::int64_t) const {
  throw Error("network", "the class table of this network cannot get another row");
}

std::string Network::size_problem(std::int64_t height, std::int64_t width) const {
  std::string needs;
  if (height < 1 || width < 1 || height % size_multiple != 0 || width % size_multiple != 0)
    needs = fmt::format("multiples of {}", size_multiple);
  else if (square && height != width)
    needs = "squares";
  return needs.empty()
             ? needs
             : fmt::format("pictures are {}x{}, this network needs {}", height, width, needs);
}

std::span<const NetworkClass> network_classes() { return kClasses; }

std::string network_class_names() {
  std::string names;
  for (const NetworkClass& c : kClasses) names += (names.empty() ? "" : ", ") + std::string(c.name);
  return names;
}

const NetworkClass* find_network_class(const std::string& name) {
  for (const NetworkClass& c : kClasses)
    if (name == c.name) return &c;
  return nullptr;
}

std::vector<std::string> network_parts() {
  std::vector<std::string> parts;
  for (const NetworkClass& c : kClasses)
    if (std::find(parts.begin(), parts.end(), c.part) == parts.end()) parts.emplace_back(c.part);
  return parts;
}

const NetworkClass& network_class_of(const io::JsonObject& config, const std::string& part_of) {
  if (config.contains("_class_name")) {
    const std::string name = config.get_string("_class_name");
    if (const NetworkClass* known = find_network_class(name)) return *known;
    throw Error(config.source(), fmt::format("this is the config of a {}{}; sfumato reads {}",
                                             io::in_quotes(name), part_of, network_class_names()));
  }
  for (const NetworkClass& c : kClasses)
    if (c.recognises(config)) return c;
  throw Error(config.source(),
              fmt::format("this is not the config of a {}: it names no class{}, and has none of "
                          "its keys",
                          network_class_names(), part_of));
}

}  // namespace sfumato::nn
