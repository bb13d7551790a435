// Self-conditioning: Analog Bits (Chen, Zhang & Hinton 2022), section 3.2. A network that sees, beside x_t, an estimate x̂_0
// that it has made before: twice the channels come in, and the second half of them is the estimate, or zeros where there
// is none. diffusion/self_condition.h trains it; the samplers hand it its last estimate (diffusion/sampler.h).
#pragma once
#include <string>
#include <vector>

#include "nn/network.h"
#include "tensor/io/json.h"

namespace sfumato::nn {

// In a config.json, beside the keys of the network's class: true for such a network. diffusers reads past it.
inline constexpr const char* kSelfCondition = "self_condition";

// What `inner` builds, of 2c channels in and c out (or 2c, with a learned variance), as a Network of pictures of c channels
// whose `takes_estimate` is true: its in_channels are c, and given x_t alone, [N,H,W,c], it sees zeros beside it. Given
// [N,H,W,2c], it sees what it is given. Parameters and config are those of `inner`; the config also has the key above.
// Building it throws Error for other channels.
BuildNetwork self_conditioned(BuildNetwork inner);

// The network of a config.json, whatever its class, self-conditioned where it says so. As NetworkClass::read and
// network_class_of.
BuildNetwork read_network(const io::JsonObject& config, std::vector<std::string>* notes,
                          const std::string& part_of = "");

}  // namespace sfumato::nn
