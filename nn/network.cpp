#include "nn/network.h"

#include <fmt/format.h>

#include "nn/unet.h"

namespace sfumato::nn {
namespace {

constexpr NetworkClass kClasses[] = {
    {"UNet2DModel", read_unet, looks_like_unet_config},
};

}  // namespace

std::unique_ptr<Network> Network::with_rows(const Scope&, std::int64_t) const {
  throw Error("network", "the class table of this network cannot get another row");
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
