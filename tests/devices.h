// The devices that tests run on: the CPU and, in a build that has one, a GPU (emulated or real).
#pragma once
#include <vector>

#include "tensor/device.h"
#include "tensor/error.h"

namespace sfumato {

inline std::vector<Device> devices() {
  std::vector<Device> all{Device::cpu};
  try {
    all.push_back(use_device("cuda"));
  } catch (const Error&) {  // this build or this machine has none
  }
  return all;
}

}  // namespace sfumato
